{{- /*
SPDX-License-Identifier: Apache-2.0
*/ -}}
{{/* What the pods of the DaemonSet and that of `helm test` have in common. */}}

{{- define "flowtally.podSecurityContext" -}}
{{- $context := deepCopy .Values.podSecurityContext -}}
{{- if and .Values.appArmorProfile (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}
{{- $context = set $context "appArmorProfile" .Values.appArmorProfile }}
{{- end }}
{{- toYaml $context }}
{{- end }}

{{/* Before 1.30 the profile is an annotation of the container: a list of the root and its name. */}}
{{- define "flowtally.appArmorAnnotation" -}}
{{- $root := index . 0 }}{{ $profile := $root.Values.appArmorProfile -}}
{{- if and $profile (semverCompare "<1.30-0" $root.Capabilities.KubeVersion.Version) -}}
{{- $names := dict "RuntimeDefault" "runtime/default" "Unconfined" "unconfined" -}}
container.apparmor.security.beta.kubernetes.io/{{ index . 1 }}: {{ get $names $profile.type | default (printf "localhost/%s" $profile.localhostProfile) }}
{{- end }}
{{- end }}

{{/* Those of values count more. */}}
{{- define "flowtally.podAnnotations" -}}
{{- $notes := dict "kubectl.kubernetes.io/default-container" "flowtally" "cluster-autoscaler.kubernetes.io/safe-to-evict" "true" -}}
{{- if .Values.restartOnConfigChange }}
{{- $notes = set $notes "checksum/config" (include "flowtally.configText" . | sha256sum) }}
{{- end }}
{{- $notes = merge $notes (include "flowtally.appArmorAnnotation" (list . "flowtally") | fromYaml) -}}
{{- mergeOverwrite $notes (deepCopy (default dict .Values.podAnnotations)) | toYaml }}
{{- end }}

{{- define "flowtally.podCommon" -}}
serviceAccountName: {{ include "flowtally.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "flowtally.pullSecrets" . }}
{{- . }}
{{- end }}
hostNetwork: {{ .Values.hostNetwork }}
dnsPolicy: {{ .Values.dnsPolicy }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "flowtally.podSecurityContext" . | nindent 2 }}
{{- end }}

{{- define "flowtally.containerCommon" -}}
image: {{ include "flowtally.image" (list . .Values.image .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{- define "flowtally.volumes" -}}
- name: config
  configMap:
    name: {{ include "flowtally.fullname" . }}
- name: run
  emptyDir:
    sizeLimit: 1Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "flowtally.volumeMounts" -}}
- name: config
  mountPath: /etc/flowtally
  readOnly: true
- name: run
  mountPath: /run/flowtally
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A list of the root, the probe's values and the path. */}}
{{- define "flowtally.probe" -}}
{{- $metrics := include "flowtally.metrics" (index . 0) | fromYaml -}}
httpGet:
  path: {{ index . 2 }}
  port: metrics
  {{- with $metrics.host }}
  host: {{ . | quote }}
  {{- end }}
{{ toYaml (index . 1) }}
{{- end }}
