{{/* What the chart has to know of the service's settings: those given in `config`, else the service's own defaults. */}}

{{/* A setting by its path, or the default: list of the context, the path and the default. */}}
{{- define "twintier.setting" -}}
{{- $found := (index . 0).Values.config -}}
{{- range splitList "." (index . 1) -}}
{{- $found = ternary (get (default dict $found) .) "" (kindIs "map" $found) -}}
{{- end -}}
{{- ternary (index . 2) $found (or (kindIs "invalid" $found) (eq (toString $found) "")) -}}
{{- end }}

{{/* The port of an address such as 0.0.0.0:50051 or [::]:50051. */}}
{{- define "twintier.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end }}

{{- define "twintier.grpcPort" -}}
{{- include "twintier.port" (include "twintier.setting" (list . "server.listen" "127.0.0.1:50051")) -}}
{{- end }}

{{/* Port of the admin server: metrics, HTTP probes and the page. Empty where `config` turns it off, or leaves it on loopback. */}}
{{- define "twintier.adminPort" -}}
{{- if eq "true" (include "twintier.setting" (list . "admin.enabled" "true")) -}}
{{- include "twintier.port" (include "twintier.setting" (list . "admin.listen" "")) -}}
{{- end -}}
{{- end }}

{{/* Port at which callers find the pod: that of a proxy that takes TLS, or the service's own. */}}
{{- define "twintier.callPort" -}}
{{- if and .Values.tls.enabled .Values.tls.port -}}
{{- int .Values.tls.port -}}
{{- else -}}
{{- include "twintier.grpcPort" . -}}
{{- end -}}
{{- end }}

{{/* The same, as Services and policies name it. */}}
{{- define "twintier.callTarget" -}}
{{- ternary .Values.tls.port "grpc" (and .Values.tls.enabled (not (empty .Values.tls.port))) -}}
{{- end }}

{{- define "twintier.appProtocol" -}}
{{- default (ternary "https" "kubernetes.io/h2c" .Values.tls.enabled) .Values.service.appProtocol -}}
{{- end }}

{{/* Port of the collector of OpenTelemetry. */}}
{{- define "twintier.otelPort" -}}
{{- $scheme := ternary "443" "80" (hasPrefix "https:" .Values.otel.endpoint) -}}
{{- $port := regexFind ":[0-9]+$" (urlParse .Values.otel.endpoint).host | trimPrefix ":" -}}
{{- .Values.networkPolicy.otelPort | default $port | default $scheme -}}
{{- end }}

{{/* A namespace of the cache to try things in: empty for that of callers who name none, else one of those that exist. */}}
{{- define "twintier.tryNamespace" -}}
{{- $namespaces := default dict .Values.config.namespaces -}}
{{- if and (eq "true" (include "twintier.setting" (list . "cache.strict_namespaces" "false"))) (not (hasKey $namespaces "default")) -}}
{{- keys $namespaces | sortAlpha | first -}}
{{- end -}}
{{- end }}

{{/* Milliseconds of a duration such as 5s, 1h30m or 250ms; the schema lets in no other units. */}}
{{- define "twintier.milliseconds" -}}
{{- $total := 0 -}}
{{- $units := dict "ns" 0 "us" 0 "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- range regexFindAll "[0-9]+[a-z]+" (nospace .) -1 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $total = add $total (mul (int64 (trimSuffix $unit .)) (get $units $unit)) -}}
{{- end -}}
{{- $total -}}
{{- end }}

{{/* Bytes of a size such as 256MiB, of the service, or 512Mi, of Kubernetes. */}}
{{- define "twintier.bytes" -}}
{{- $text := upper (toString .) -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $unit := trimSuffix "B" (trim (trimPrefix $number $text)) -}}
{{- $units := dict "" 1 "K" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "KI" 1024 "MI" 1048576 "GI" 1073741824 "TI" 1099511627776 -}}
{{- mulf (float64 $number) (get $units $unit | default 1) | int64 -}}
{{- end }}

{{/* Seconds a pod has to end: it goes on serving for the delay, then finishes. */}}
{{- define "twintier.gracePeriod" -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- else -}}
{{- $delay := include "twintier.milliseconds" (include "twintier.setting" (list . "drain.delay" "5s")) -}}
{{- $timeout := include "twintier.milliseconds" (include "twintier.setting" (list . "drain.timeout" "20s")) -}}
{{- add 5 (ceil (divf (add $delay $timeout) 1000)) -}}
{{- end -}}
{{- end }}

{{/* Whether replicas share a Redis, as far as values tell: "true" or empty. */}}
{{- define "twintier.hasRedis" -}}
{{- $named := false -}}
{{- range .Values.extraEnv -}}
{{- if has .name (list "TWINTIER_REDIS_URL" "REDIS_URL") -}}{{- $named = true -}}{{- end -}}
{{- end -}}
{{- if regexMatch "redis[._-]url" (join " " .Values.extraArgs) -}}{{- $named = true -}}{{- end -}}
{{- $secret := and .Values.redis.existingSecret .Values.redis.keys.url -}}
{{- if or .Values.devRedis.enabled (include "twintier.setting" (list . "redis.url" "")) $secret $named .Values.extraEnvFrom -}}
true
{{- end -}}
{{- end }}

{{/* Most replicas there may be at once. */}}
{{- define "twintier.mostReplicas" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end }}

{{/* Names of the files of redis.existingSecret that settings name: `setting: key`. */}}
{{- define "twintier.redisFiles" -}}
{{- with .Values.redis -}}
{{- if .existingSecret -}}
{{- with .keys.password }}
password_file: {{ . }}
{{- end }}
{{- with .keys.sentinelPassword }}
sentinel_password_file: {{ . }}
{{- end }}
{{- with .keys.ca }}
tls_ca_file: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end }}
