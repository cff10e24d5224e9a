{{- /* Every template begins with this: values as the others may rely on them, or one line that says what cannot work. */ -}}
{{- define "ctmon.values" -}}
{{- $defaults := include "ctmon.file" (dict "root" . "name" "values.yaml") | fromYaml -}}
{{- include "ctmon.fill" (dict "into" .Values "from" (omit $defaults "tolerations" "priorityClassName")) -}}
{{- include "ctmon.check" . -}}
{{- end -}}

{{- /* Helm takes null for "remove the default", and `--reuse-values` knows none of a newer chart: both leave holes. The chart's own
       sections get their defaults back; in maps that belong to the user, such as nodeSelector, null goes on removing. */ -}}
{{- define "ctmon.fill" -}}
{{- $sections := list "image" "log" "web" "serviceAccount" "hostPaths" "service" "podMonitor" "prometheusRule" "dashboard" "configMap" "operator" "ciliumPolicy" -}}
{{- $whole := list "config" "instanceSelector" -}}
{{- range $key, $default := .from -}}
{{- $given := index $.into $key -}}
{{- if not (kindIs "invalid" $given) -}}
{{- if has $key $sections -}}
{{- include "ctmon.fill" (dict "into" $given "from" $default) -}}
{{- end -}}
{{- else if or (not (kindIs "map" $default)) (has $key (concat $sections $whole)) -}}
{{- $_ := set $.into $key $default -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the schema cannot say, or not in words. */ -}}
{{- define "ctmon.check" -}}
{{- if and .Values.web.tls (not .Values.web.existingSecret) -}}
{{- fail "web.tls is true without web.existingSecret: the agent would speak plain HTTP and its probes HTTPS; name the Secret with the web configuration" -}}
{{- end -}}
{{- include "ctmon.checkRollout" (.Values.updateStrategy | default dict) -}}
{{- include "ctmon.checkLabels" (dict "value" "podLabels" "labels" .Values.podLabels) -}}
{{- include "ctmon.checkLabels" (dict "value" "commonLabels" "labels" .Values.commonLabels) -}}
{{- include "ctmon.checkScrape" .Values.podMonitor -}}
{{- include "ctmon.checkEnv" . -}}
{{- include "ctmon.checkVolumes" . -}}
{{- include "ctmon.checkMounts" . -}}
{{- include "ctmon.checkAlerts" . -}}
{{- end -}}

{{- define "ctmon.checkRollout" -}}
{{- $unavailable := toString (dig "rollingUpdate" "maxUnavailable" 1 (dict "rollingUpdate" (.rollingUpdate | default dict))) -}}
{{- if and (ne .type "OnDelete") (has $unavailable (list "0" "0%" "00%")) -}}
{{- fail "updateStrategy.rollingUpdate.maxUnavailable is 0 and maxSurge has to be: no agent would ever be replaced; allow one node or more" -}}
{{- end -}}
{{- end -}}

{{- define "ctmon.checkLabels" -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/part-of" "app.kubernetes.io/component" -}}
{{- if eq .value "commonLabels" -}}
{{- $own = concat $own (list "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart") -}}
{{- end -}}
{{- range $label, $_ := .labels -}}
{{- if has $label $own -}}
{{- fail (printf "%s may not have %s: the chart sets it" $.value $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ctmon.checkScrape" -}}
{{- if gt (include "ctmon.milliseconds" .scrapeTimeout | int64) (include "ctmon.milliseconds" .interval | int64) -}}
{{- fail (printf "podMonitor.scrapeTimeout is %s, above podMonitor.interval, %s: the Prometheus operator would leave the PodMonitor out" .scrapeTimeout .interval) -}}
{{- end -}}
{{- end -}}

{{- define "ctmon.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 "y" 31536000000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $sum = add $sum (mul (regexFind "[0-9]+" .) (index $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{- define "ctmon.checkEnv" -}}
{{- $taken := list -}}
{{- range .Values.extraEnv -}}
{{- if has .name $taken -}}
{{- fail (printf "extraEnv has %s twice" .name) -}}
{{- end -}}
{{- $taken = append $taken .name -}}
{{- end -}}
{{- end -}}

{{- define "ctmon.checkVolumes" -}}
{{- $taken := list "config" "bpffs" "proc" "sys" "pod-logs" "web" -}}
{{- range .Values.extraVolumes -}}
{{- if has .name $taken -}}
{{- fail (printf "extraVolumes: there is a volume %s already; choose another name" .name) -}}
{{- end -}}
{{- $taken = append $taken .name -}}
{{- end -}}
{{- end -}}

{{- define "ctmon.checkMounts" -}}
{{- $taken := list "/etc/ctmon" "/sys/fs/bpf" "/host/proc" "/host/sys" "/var/log/pods" "/etc/ctmon-web" -}}
{{- $volumes := list -}}
{{- range .Values.extraVolumes }}{{ $volumes = append $volumes .name }}{{ end -}}
{{- range .Values.extraVolumeMounts -}}
{{- if has (clean .mountPath) $taken -}}
{{- fail (printf "extraVolumeMounts: something is mounted at %s already; choose another path" .mountPath) -}}
{{- end -}}
{{- if not (has .name $volumes) -}}
{{- fail (printf "extraVolumeMounts: extraVolumes has no volume %s" .name) -}}
{{- end -}}
{{- $taken = append $taken (clean .mountPath) -}}
{{- end -}}
{{- end -}}

{{- /* Names are those of the rules, with or without Ctmon in front, as ctmon's configuration writes them. */ -}}
{{- define "ctmon.checkAlerts" -}}
{{- if or .Values.prometheusRule.disabled .Values.prometheusRule.overrides -}}
{{- $known := include "ctmon.alerts" . | fromYaml -}}
{{- range .Values.prometheusRule.disabled -}}
{{- include "ctmon.checkAlert" (dict "value" "disabled" "alert" . "known" $known) -}}
{{- end -}}
{{- range $alert, $severities := .Values.prometheusRule.overrides -}}
{{- include "ctmon.checkAlert" (dict "value" "overrides" "alert" $alert "known" $known) -}}
{{- $has := index $known (trimPrefix "Ctmon" $alert) -}}
{{- range $severity, $_ := $severities -}}
{{- if not (has $severity $has) -}}
{{- fail (printf "prometheusRule.overrides.%s: it has no severity %s, only %s" $alert $severity (join ", " $has)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ctmon.checkAlert" -}}
{{- if not (hasKey .known (trimPrefix "Ctmon" .alert)) -}}
{{- fail (printf "prometheusRule.%s: there is no alert %s; there are %s" .value .alert (keys .known | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}

{{- /* Every alert of every group, without Ctmon, with its severities. */ -}}
{{- define "ctmon.alerts" -}}
{{- $alerts := dict -}}
{{- range $name := list "ctmon" "ctmon-cluster" -}}
{{- $file := include "ctmon.file" (dict "root" $ "name" (printf "%s.prometheusrule.yaml" $name)) | fromYaml -}}
{{- range $group := $file.spec.groups -}}
{{- range $rule := $group.rules -}}
{{- $alert := trimPrefix "Ctmon" $rule.alert -}}
{{- $_ := set $alerts $alert (append (index $alerts $alert | default list) $rule.labels.severity) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $alerts -}}
{{- end -}}

{{- /* What is below these keys of a map; an empty map where nothing is, or something else. */ -}}
{{- define "ctmon.below" -}}
{{- $at := .map -}}
{{- range .keys -}}
{{- $at = ternary (index (ternary $at (dict) (kindIs "map" $at)) .) (dict) (kindIs "map" $at) -}}
{{- end -}}
{{- toYaml (ternary $at (dict) (kindIs "map" $at)) -}}
{{- end -}}

{{- /* `for`, `keep_firing_for` and `severity` of one rule as the values change them. */ -}}
{{- define "ctmon.changes" -}}
{{- $short := trimPrefix "Ctmon" .rule.alert -}}
{{- $severity := .rule.labels.severity -}}
{{- $changes := dict -}}
{{- $told := include "ctmon.below" (dict "map" .root.Values.config "keys" (list "thresholds" $short $severity)) | fromYaml -}}
{{- range $key, $time := pick $told "for" "keep_firing_for" -}}
{{- /* What is no duration the agent refuses itself, and keeps its old times. */ -}}
{{- if regexMatch "^([0-9]+(ms|[ywdhms]))+$" (toString $time) -}}
{{- $_ := set $changes $key $time -}}
{{- end -}}
{{- end -}}
{{- range $name := list $short .rule.alert -}}
{{- range $key, $value := include "ctmon.below" (dict "map" $.root.Values.prometheusRule.overrides "keys" (list $name $severity)) | fromYaml -}}
{{- $_ := set $changes $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $changes -}}
{{- end -}}
