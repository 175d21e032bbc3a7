// Before the first paint, so that the page does not flash: the theme a person chose, else the system's.
(() => {
  const chosen = localStorage.getItem("hookbus.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
