{{- /*
SPDX-License-Identifier: Apache-2.0
*/ -}}
{{/* --- Names and labels. */}}

{{- define "flowtally.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* No longer than a Service may be called with -collector behind it. */}}
{{- define "flowtally.fullname" -}}
{{- $name := printf "%s-%s" .Release.Name (include "flowtally.name" .) -}}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains (include "flowtally.name" .) .Release.Name }}
{{- $name = .Release.Name }}
{{- end }}
{{- $name | replace "." "-" | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "flowtally.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "flowtally.collectorName" -}}
{{- include "flowtally.fullname" . }}-collector
{{- end }}

{{- define "flowtally.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "flowtally.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* component is exporter or collector: a list of the root and its name. */}}
{{- define "flowtally.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "flowtally.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Of what a pod has, a name that does not depend on values: by it monitors, rules and `kubectl flowtally` find exporters. */}}
{{- define "flowtally.partOf" -}}
app.kubernetes.io/part-of: flowtally
{{- end }}

{{/*
Labels of a resource: a list of the root, the component, and labels of its own if there are any.  Of two of a name that of
the chart counts most, for selectors need it, and the common one least.
*/}}
{{- define "flowtally.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := dict "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $labels = merge $labels (dict "app.kubernetes.io/version" (replace "+" "_" $root.Chart.AppVersion) "app.kubernetes.io/managed-by" $root.Release.Service) -}}
{{- merge $labels (include "flowtally.podLabels" . | fromYaml) | toYaml }}
{{- end }}

{{/* Likewise those of a pod, which do not change with a version, so that a new one restarts no pod for that. */}}
{{- define "flowtally.podLabels" -}}
{{- $labels := include "flowtally.selectorLabels" . | fromYaml -}}
{{- $labels = merge $labels (include "flowtally.partOf" . | fromYaml) -}}
{{- if gt (len .) 2 }}{{ $labels = merge $labels (default dict (index . 2)) }}{{ end -}}
{{- merge $labels (default dict (index . 0).Values.commonLabels) | toYaml }}
{{- end }}

{{/* --- Images: a list of the root, the image's values and its default tag. */}}

{{- define "flowtally.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
{{- $registry := default $image.registry $root.Values.global.imageRegistry -}}
{{- $name := ternary $image.repository (printf "%s/%s" $registry $image.repository) (empty $registry) -}}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default (index . 2) $image.tag) }}
{{- end }}
{{- end }}

{{- define "flowtally.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (default list .Values.global.imagePullSecrets) (default list .Values.imagePullSecrets) }}
{{- $names = append $names (dict "name" (ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .))) }}
{{- end }}
{{- with $names | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* --- The configuration. */}}

{{- define "flowtally.preset" -}}
{{- $text := .Files.Get (printf "presets/%s.yaml" .Values.preset) -}}
{{- if not $text }}
{{- fail (printf "preset %q: there are minimal, default and full" .Values.preset) }}
{{- end }}
{{- $text }}
{{- end }}

{{/* What flowtally.yaml has: the preset, the values over it, and the collector in the cluster. */}}
{{- define "flowtally.config" -}}
{{- $config := (include "flowtally.preset" . | fromYaml).config -}}
{{- $given := .Values.config -}}
{{- range $section := list "metrics" "control" }}
{{- if hasKey $given $section }}
{{- range $key, $value := $config }}
{{- if hasPrefix (printf "%s-" $section) $key }}
{{- $config = omit $config $key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $value := $given }}
{{- $config = set $config $key $value }}
{{- end }}
{{- if .Values.collector.enabled }}
{{- $url := printf "ipfix://%s.%s.svc:%d" (include "flowtally.collectorName" .) (include "flowtally.namespace" .) (int .Values.collector.port) }}
{{- $collectors := append (default list $config.collectors) (dict "name" "in-cluster" "url" $url) }}
{{- $config = set $config "collectors" $collectors }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "flowtally.configText" -}}
# Written by Helm from values.config; a running exporter reads it again when it changes.
{{ include "flowtally.config" . }}
{{- end }}

{{/*
Where metrics are served: listen ("" for nowhere), port, local (on the node alone), and host, whom the kubelet asks.  The
kubelet is in the node's network, as the pod is by default: what listens on loopback is there for both.
*/}}
{{- define "flowtally.metrics" -}}
{{- $config := include "flowtally.config" . | fromYaml -}}
{{- $listen := "127.0.0.1:9717" -}}
{{- if hasKey $config "metrics-listen" }}
{{- $listen = get $config "metrics-listen" }}
{{- else if hasKey $config "metrics" }}
{{- if kindIs "map" $config.metrics }}
{{- if hasKey $config.metrics "listen" }}{{ $listen = $config.metrics.listen }}{{ end }}
{{- else }}
{{- $listen = $config.metrics }}
{{- end }}
{{- end }}
{{- $listen = ternary "" (toString $listen) (has (toString $listen) (list "off" "false")) -}}
{{- $host := regexReplaceAll ":[0-9]+$" $listen "" -}}
{{- $local := or (hasPrefix "127." $host) (hasPrefix "[::1]" $host) (eq $host "localhost") -}}
{{- $asked := $host | trimPrefix "[" | trimSuffix "]" -}}
{{- if or $local (eq $host "0.0.0.0") (eq $host "[::]") }}
{{- $asked = ternary "localhost" "127.0.0.1" (hasPrefix "[" $host) }}
{{- end }}
{{- if not .Values.hostNetwork }}{{ $asked = "" }}{{ end }}
{{- dict "listen" $listen "port" (regexFind "[0-9]+$" $listen | int) "local" $local "host" (default $asked .Values.probes.host) | toYaml }}
{{- end }}

{{- define "flowtally.resources" -}}
{{- default (include "flowtally.preset" . | fromYaml).resources .Values.resources | toYaml }}
{{- end }}

{{/* Whether something that a preset can bring is there: a list of the root and its `enabled`.  "true" or nothing. */}}
{{- define "flowtally.monitoring" -}}
{{- $root := index . 0 }}{{ $enabled := index . 1 -}}
{{- if kindIs "invalid" $enabled }}
{{- if and (include "flowtally.preset" $root | fromYaml).monitoring ($root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}true{{ end }}
{{- else if $enabled }}true{{ end }}
{{- end }}

{{- define "flowtally.podMonitor" -}}
{{- if not (and .Values.serviceMonitor.enabled (kindIs "invalid" .Values.podMonitor.enabled)) }}
{{- include "flowtally.monitoring" (list . .Values.podMonitor.enabled) }}
{{- end }}
{{- end }}

{{/* Dashboards need no operator. */}}
{{- define "flowtally.dashboards" -}}
{{- if kindIs "invalid" .Values.dashboards.enabled }}
{{- if (include "flowtally.preset" . | fromYaml).monitoring }}true{{ end }}
{{- else if .Values.dashboards.enabled }}true{{ end }}
{{- end }}

{{/* --- Arithmetic. */}}

{{/* Octets of a quantity such as 256Mi; 0 when it is no whole number of them. */}}
{{- define "flowtally.octets" -}}
{{- $text := toString . -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- if and (regexMatch "^[0-9]+[A-Za-z]*$" $text) (hasKey $units $unit) }}
{{- mul (regexFind "^[0-9]+" $text | int64) (get $units $unit) }}
{{- else }}0{{ end }}
{{- end }}

{{/* Whole seconds of a time such as 30s, rounded up. */}}
{{- define "flowtally.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- if hasSuffix "ms" . }}{{ div (add $number 999) 1000 }}
{{- else if hasSuffix "h" . }}{{ mul $number 3600 }}
{{- else if hasSuffix "m" . }}{{ mul $number 60 }}
{{- else }}{{ $number }}{{ end }}
{{- end }}

{{/*
Octets that the exporter takes when all is full: two banks (192 octets an entry, and a bucket of 16 to a power of two), a
cache (148), recent records (136), and 24 MiB of its own.
*/}}
{{- define "flowtally.memory" -}}
{{- $c := include "flowtally.config" . | fromYaml -}}
{{- $drops := ternary 0 (default 16384 (get $c "drop-entries")) (has (toString (get $c "drops")) (list "off" "false")) | int64 -}}
{{- $records := default 65536 (get $c "control-records") -}}
{{- if kindIs "map" $c.control }}{{ $records = default $records $c.control.records }}{{ end }}
{{- add (mul 2 200 (default 131072 (get $c "bank-entries") | int64)) (mul 148 (default 262144 (get $c "cache-entries") | int64)) (mul 548 $drops) (mul 136 ($records | int64)) 25165824 }}
{{- end }}
