{{- /*
SPDX-License-Identifier: Apache-2.0
*/ -}}
{{/* The endpoint of a monitor: its values. */}}
{{- define "flowtally.endpoint" -}}
port: metrics
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A list of the root, the values and the kind of the monitor. */}}
{{- define "flowtally.monitor" -}}
{{- $root := index . 0 }}{{ $values := index . 1 -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ index . 2 }}
metadata:
  name: {{ include "flowtally.fullname" $root }}
  namespace: {{ default (include "flowtally.namespace" $root) $values.namespace | quote }}
  labels:
    {{- include "flowtally.labels" (list $root "exporter" $values.labels) | nindent 4 }}
spec:
  jobLabel: app.kubernetes.io/part-of
  namespaceSelector:
    matchNames: [{{ include "flowtally.namespace" $root | quote }}]
  selector:
    matchLabels:
      {{- include "flowtally.selectorLabels" (list $root "exporter") | nindent 6 }}
  {{- with $values.sampleLimit }}
  sampleLimit: {{ int64 . }}
  {{- end }}
  {{- if $values.attachNodeMetadata }}
  attachMetadata:
    node: true
  {{- end }}
{{- end }}
