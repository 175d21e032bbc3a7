{{- define "hookbus.labels" -}}
app.kubernetes.io/name: hookbus
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{- define "hookbus.selector" -}}
app.kubernetes.io/name: hookbus
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "hookbus.image" -}}
image: {{ .root.Values.image.prefix }}hookbus/{{ .image }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}

{{/* What every pod has; `user` is 10001 but for PostgreSQL's. */}}
{{- define "hookbus.pod" -}}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "hookbus.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "hookbus.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "hookbus.selector" . | nindent 8 }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "hookbus.selector" . | nindent 8 }}
{{- end }}

{{/* A gateway is let in once it has met the bus and is kept in while it lives: its /readyz asks budget, session and audit
as well, and one of them away, audit at each of its restarts, would take every gateway out of the Service. What cannot be
had without them it answers 503 with Retry-After; all else goes on. */}}
{{- define "hookbus.probes" -}}
startupProbe:
  {{- if eq .component "gateway" }}
  exec: {command: [python, -P, -c, "import http.client, json, sys; c = http.client.HTTPConnection('127.0.0.1', 8787, timeout=4); c.request('GET', '/readyz'); sys.exit(json.load(c.getresponse())['checks']['nats'] != 'ok')"]}
  timeoutSeconds: 5
  {{- else }}
  httpGet: {path: /livez, port: http}
  {{- end }}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: {{ ternary "/livez" "/readyz" (eq .component "gateway") }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* The bus's servers by host name, comma-separated. */}}
{{- define "hookbus.natsMembers" -}}
{{- $root := . -}}
{{- $names := list -}}
{{- range $index := until (int .Values.nats.replicas) -}}
{{- $names = append $names (printf "%s-nats-%d.%s-nats" $root.Release.Name $index $root.Release.Name) -}}
{{- end -}}
{{- join "," $names -}}
{{- end }}

{{- define "hookbus.natsUrl" -}}
{{- if .Values.nats.bundled -}}
{{- $urls := list -}}
{{- range splitList "," (include "hookbus.natsMembers" .) -}}
{{- $urls = append $urls (printf "nats://%s:4222" .) -}}
{{- end -}}
{{- join "," $urls -}}
{{- else -}}
{{- required "nats.url is needed where nats.bundled is false" .Values.nats.url -}}
{{- end -}}
{{- end }}

{{/* The ports of a bus of one's own, as its address has them. */}}
{{- define "hookbus.natsPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.nats.url -}}
{{- $port := regexFind ":[0-9]+$" (trimSuffix "/" (trim .)) | trimPrefix ":" | default "4222" | int -}}
{{- $ports = append $ports (dict "protocol" "TCP" "port" $port) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end }}

{{- define "hookbus.postgresHost" -}}
{{- if .Values.postgres.bundled -}}
{{ .Release.Name }}-postgres
{{- else -}}
{{- required "postgres.host is needed where postgres.bundled is false" .Values.postgres.host -}}
{{- end -}}
{{- end }}

{{/* Settings of a service: what all have, then its own. */}}
{{- define "hookbus.environment" -}}
{{- $environment := dict
  "HOOKBUS_ENV" "production"
  "HOOKBUS_NATS_URL" (include "hookbus.natsUrl" .root)
  "HOOKBUS_NATS_USER" .component
  "HOOKBUS_SECRETS_DIR" "/secrets/own"
  "HOOKBUS_LOG_LEVEL" .root.Values.logLevel
  "HOOKBUS_TRACE_SAMPLE_RATIO" .root.Values.traceSampleRatio
-}}
{{- if ne .component "traces" -}}
{{- $_ := set $environment "OTEL_EXPORTER_OTLP_ENDPOINT" (.root.Values.otlpEndpoint | default (printf "http://%s-traces:8787" .root.Release.Name)) -}}
{{- end -}}
{{- range $name, $value := merge (dict) (index .root.Values .component "env") (.own | default dict) $environment }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* Settings of a job that keeps or uses the secrets. */}}
{{- define "hookbus.jobEnvironment" -}}
- {name: HOOKBUS_SECRETS_ROOT, value: /secrets}
- {name: HOOKBUS_NATS_URL, value: {{ include "hookbus.natsUrl" . | quote }}}
- {name: HOOKBUS_POSTGRES_HOST, value: {{ include "hookbus.postgresHost" . | quote }}}
- {name: HOOKBUS_POSTGRES_PORT, value: {{ .Values.postgres.port | quote }}}
- {name: HOOKBUS_GATEWAY_URL, value: {{ .Values.gatewayUrl | quote }}}
- {name: HOOKBUS_NATS_MEMBERS, value: {{ splitList "," (include "hookbus.natsMembers" .) | toJson | quote }}}
# The kubelet asks for its health from outside the pod.
- {name: HOOKBUS_NATS_MONITOR_LISTEN, value: "0.0.0.0:8222"}
- {name: HOOKBUS_NATS_REPLICAS, value: {{ ternary .Values.nats.replicas .Values.nats.streamReplicas .Values.nats.bundled | quote }}}
- {name: HOOKBUS_KUBERNETES_SECRET_PREFIX, value: {{ .Release.Name | quote }}}
{{- end }}

{{- define "hookbus.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .className }}
storageClassName: {{ . }}
{{- end }}
resources: {requests: {storage: {{ .size }}}}
{{- end }}

{{/* Pods of some components, as a peer or as what a policy is about. */}}
{{- define "hookbus.peers" }}
{{- $instance := .root.Release.Name }}
podSelector:
  matchLabels: {app.kubernetes.io/name: hookbus, app.kubernetes.io/instance: {{ $instance }}}
  matchExpressions:
    - {key: app.kubernetes.io/component, operator: In, values: {{ toJson .components }}}
{{- end }}
