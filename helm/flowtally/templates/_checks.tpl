{{- /*
SPDX-License-Identifier: Apache-2.0
*/ -}}
{{/* What cannot work is refused here, with the way out; what is risky is said by NOTES.txt. */}}

{{- define "flowtally.checks" -}}
{{- $config := include "flowtally.config" . | fromYaml -}}
{{- $metrics := include "flowtally.metrics" . | fromYaml -}}
{{- $name := include "flowtally.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "the resources would be called %q: a name consists of small letters, digits and -, and begins with a letter; set fullnameOverride" $name) }}
{{- end }}
{{- if and (not $config.collectors) (not $metrics.listen) }}
{{- fail "no collector and no metrics: nobody would get what is counted; give config.collectors, set collector.enabled=true, or leave config.metrics-listen alone" }}
{{- end }}
{{- if not $config.interfaces }}
{{- fail "config.interfaces is empty: nothing would be metered; leave it to the preset, or give names and globs" }}
{{- end }}
{{- if and .Values.podMonitor.enabled .Values.serviceMonitor.enabled }}
{{- fail "podMonitor.enabled and serviceMonitor.enabled: each series would be there twice; choose one" }}
{{- end }}
{{- if or .Values.podMonitor.enabled .Values.serviceMonitor.enabled }}
{{- if not $metrics.listen }}
{{- fail "a monitor, and config.metrics-listen is off: there is nothing to scrape; set config.metrics-listen=0.0.0.0:9717" }}
{{- else if $metrics.local }}
{{- fail (printf "a monitor, and config.metrics-listen is %s: Prometheus is not on each node; set config.metrics-listen=0.0.0.0:9717" $metrics.listen) }}
{{- end }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.service.enabled) }}
{{- fail "serviceMonitor.enabled needs service.enabled; or set podMonitor.enabled instead" }}
{{- end }}
{{- if and $metrics.local (not .Values.hostNetwork) }}
{{- fail (printf "hostNetwork is false, and config.metrics-listen is %s: the kubelet cannot ask whether the pod is well; set config.metrics-listen=0.0.0.0:9717" $metrics.listen) }}
{{- end }}
{{- $stop := include "flowtally.seconds" (toString (default "30s" (get $config "stop-timeout"))) | int64 -}}
{{- if lt (int64 .Values.terminationGracePeriodSeconds) (add $stop 5) }}
{{- fail (printf "terminationGracePeriodSeconds is %d: the end may take stop-timeout, %d s, and 5 s more; set it to %d at least" (int .Values.terminationGracePeriodSeconds) $stop (add $stop 5)) }}
{{- end }}
{{- $limit := dig "limits" "memory" "" (include "flowtally.resources" . | fromYaml) -}}
{{- $octets := include "flowtally.octets" $limit | int64 -}}
{{- $need := include "flowtally.memory" . | int64 -}}
{{- if and $limit (gt $octets 0) (lt $octets $need) }}
{{- fail (printf "resources.limits.memory is %v: banks, cache and recent records of this config take %d Mi; raise it, or choose smaller bank-entries, cache-entries or control-records" $limit (add 1 (div $need 1048576))) }}
{{- end }}
{{- $ways := list "metrics-listen" "stop-timeout" "config" -}}
{{- range $way := $ways }}
{{- $instead := ternary "config" (printf "config.%s" $way) (eq $way "config") -}}
{{- range $.Values.extraArgs }}
{{- if regexMatch (printf "^(--set=|--)?%s(=|$)" $way) . }}
{{- fail (printf "extraArgs has %s, which the probes and the grace would not know of; set %s instead" . $instead) }}
{{- end }}
{{- end }}
{{- range $.Values.extraEnv }}
{{- if eq .name (printf "FLOWTALLY_%s" ($way | upper | replace "-" "_")) }}
{{- fail (printf "extraEnv has %s, which the probes and the grace would not know of; set %s instead" .name $instead) }}
{{- end }}
{{- end }}
{{- end }}
{{- $places := list "/run/flowtally" -}}
{{- range .Values.extraVolumeMounts }}{{ $places = append $places .mountPath }}{{ end }}
{{- range $config.collectors }}
{{- $url := ternary . (get (ternary dict . (kindIs "string" .)) "url") (kindIs "string" .) -}}
{{- $path := "" -}}
{{- if and $url (regexMatch "^(file|json):" $url) }}
{{- $path = regexReplaceAll "[?].*$" (regexReplaceAll "^(file|json):(//)?" $url "") "" }}
{{- else if and (not (kindIs "string" .)) .path }}
{{- $path = .path }}
{{- end }}
{{- $known := or (not $path) (not (hasPrefix "/" $path)) -}}
{{- range $places }}{{ if hasPrefix (printf "%s/" (trimSuffix "/" .)) $path }}{{ $known = true }}{{ end }}{{ end }}
{{- if and (not $known) $.Values.securityContext.readOnlyRootFilesystem }}
{{- fail (printf "a collector writes %s, and the root file system is read-only; give extraVolumes and extraVolumeMounts for its folder" $path) }}
{{- end }}
{{- end }}
{{- if and .Values.hostNetwork (dig "rollingUpdate" "maxSurge" 0 .Values.updateStrategy | toString | ne "0") }}
{{- fail "updateStrategy.rollingUpdate.maxSurge: two pods on a node want the same port of the host; use maxUnavailable" }}
{{- end }}
{{- end }}
