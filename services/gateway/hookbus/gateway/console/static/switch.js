// The theme switch: system, light, dark, and round again. theme.js applies the choice before the first paint.

const KEY = "hookbus.theme";
const ORDER = ["system", "light", "dark"];

export function wireTheme(button) {
  const chosen = () => { const kept = localStorage.getItem(KEY); return ORDER.includes(kept) ? kept : "system"; };
  const label = () => { button.textContent = `Theme: ${chosen()}`; };
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(chosen()) + 1) % ORDER.length];
    if (next === "system") { localStorage.removeItem(KEY); delete document.documentElement.dataset.theme; }
    else { localStorage.setItem(KEY, next); document.documentElement.dataset.theme = next; }
    label();
  });
  label();
}
