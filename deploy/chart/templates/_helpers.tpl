{{- define "ctmon.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ctmon.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "ctmon.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ctmon.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ctmon.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ctmon.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "ctmon.commonLabels" -}}
{{ include "ctmon.selectorLabels" . }}
app.kubernetes.io/part-of: ctmon
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Labels of an object: the chart's, commonLabels, and `more`, which is the most specific. One map, so that no key is there twice. */ -}}
{{- define "ctmon.labels" -}}
{{- $labels := include "ctmon.commonLabels" .root | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/component" (.component | default "node-agent") -}}
{{- toYaml (merge (dict) (.more | default dict) (.root.Values.commonLabels | default dict) $labels) -}}
{{- end -}}

{{- /* The pods': without what changes with each version of the chart, which would restart every agent. */ -}}
{{- define "ctmon.podLabels" -}}
{{- $labels := include "ctmon.selectorLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "ctmon" -}}
{{- $_ := set $labels "app.kubernetes.io/component" "node-agent" -}}
{{- toYaml (merge (dict) (.Values.podLabels | default dict) (.Values.commonLabels | default dict) $labels) -}}
{{- end -}}

{{- define "ctmon.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ctmon.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* A name nobody owns may be somebody's tomorrow, and what it then holds would run as root on every node. */ -}}
{{- define "ctmon.image" -}}
{{- if contains "set-the-image" .Values.image.repository -}}
{{- fail "image.repository is not set: no image of ctmon is published; push the one that `cargo xtask image` makes and name it, like --set image.repository=registry.example.org/you/ctmon" -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Rules that are not there would be no rules at all, and nobody would be told. */ -}}
{{- define "ctmon.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .name) -}}
{{- if not $text -}}
{{- fail (printf "files/%s is missing from this chart: fetch all of it" .name) -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{- define "ctmon.probe" -}}
httpGet:
  path: {{ .path }}
  port: metrics
  {{- if .tls }}
  scheme: HTTPS
  {{- end }}
{{- end -}}

{{- define "ctmon.ownEnv" -}}
- name: NODE_IP
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
- name: CTMON_LISTEN
  value: "[$(NODE_IP)]:{{ .Values.port }},127.0.0.1:{{ .Values.port }}"
{{- if ne (int .Values.port) 10469 }}
- name: CTMON_DAEMON
  value: "http://127.0.0.1:{{ .Values.port }}"
{{- end }}
- name: CTMON_PROCFS
  value: /host/proc
- name: CTMON_SYSFS
  value: /host/sys
{{- with .Values.log.level }}
- name: CTMON_LOG_LEVEL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.log.format }}
- name: CTMON_LOG_FORMAT
  value: {{ . }}
{{- end }}
{{- end -}}

{{- /* extraEnv takes the place of what the chart sets: a name that is there twice is refused by a server-side apply. */ -}}
{{- define "ctmon.env" -}}
{{- $given := dict -}}
{{- range .Values.extraEnv }}{{ $_ := set $given .name . }}{{ end -}}
{{- $env := list -}}
{{- range include "ctmon.ownEnv" . | fromYamlArray -}}
{{- $env = append $env (index $given .name | default .) -}}
{{- $given = omit $given .name -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasKey $given .name }}{{ $env = append $env . }}{{ end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}
