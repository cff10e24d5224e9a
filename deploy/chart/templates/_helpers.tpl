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
app.kubernetes.io/name: {{ include "ctmon.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ctmon.commonLabels" -}}
{{ include "ctmon.selectorLabels" . }}
app.kubernetes.io/part-of: ctmon
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ctmon.labels" -}}
{{ include "ctmon.commonLabels" . }}
app.kubernetes.io/component: node-agent
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

{{- /* In the repository files/ holds links, which some ways of fetching a chart leave out: rules that are not there
       would be no rules at all, and nobody would be told. */ -}}
{{- define "ctmon.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .name) -}}
{{- if not $text -}}
{{- fail (printf "files/%s is missing from this chart: it is a link in the repository, which Flux's GitRepository leaves out; `helm package deploy/chart` makes a chart that has it" .name) -}}
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
