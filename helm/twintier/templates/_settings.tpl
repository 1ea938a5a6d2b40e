{{/* Settings of the service that the chart needs: the values in `config`, else the service's defaults. */}}

{{/* Value of a setting, or the default. Arguments: the context, the path and the default. */}}
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

{{/* Port of the admin server: metrics, HTTP probes and the dashboard. Empty if `config` disables it or keeps it on loopback. */}}
{{- define "twintier.adminPort" -}}
{{- if eq "true" (include "twintier.setting" (list . "admin.enabled" "true")) -}}
{{- include "twintier.port" (include "twintier.setting" (list . "admin.listen" "")) -}}
{{- end -}}
{{- end }}

{{/* "true" if the service itself speaks TLS, else empty. */}}
{{- define "twintier.servesTls" -}}
{{- if and .Values.tls.enabled (eq .Values.tls.mode "service") -}}true{{- end -}}
{{- end }}

{{/* Secret with the certificate, of the user or of cert-manager. Empty if there is none. */}}
{{- define "twintier.tlsSecret" -}}
{{- if .Values.tls.certificate.enabled -}}{{ include "twintier.fullname" . }}-tls{{- else -}}{{ .Values.tls.existingSecret }}{{- end -}}
{{- end }}

{{/* Port of probes alone. Empty if there is none. */}}
{{- define "twintier.probesPort" -}}
{{- $set := include "twintier.setting" (list . "admin.probes_listen" "") -}}
{{- if $set -}}{{ include "twintier.port" $set }}{{- else if include "twintier.servesTls" . -}}{{ .Values.tls.probesPort }}{{- end -}}
{{- end }}

{{/* Port of callers without TLS beside one with it. Empty if there is none. */}}
{{- define "twintier.plainPort" -}}
{{- include "twintier.port" (include "twintier.setting" (list . "server.listen_plain" "")) -}}
{{- end }}

{{/* Scheme of the admin port. */}}
{{- define "twintier.adminScheme" -}}
{{- if and (include "twintier.servesTls" .) (ne "false" (include "twintier.setting" (list . "tls.admin" "true"))) -}}https{{- else -}}http{{- end -}}
{{- end }}

{{/* Port of the pod for callers: that of a proxy that terminates TLS, or the service's own. */}}
{{- define "twintier.callPort" -}}
{{- if and .Values.tls.enabled .Values.tls.port -}}
{{- int .Values.tls.port -}}
{{- else -}}
{{- include "twintier.grpcPort" . -}}
{{- end -}}
{{- end }}

{{/* Name or number of that port for Services and policies. */}}
{{- define "twintier.callTarget" -}}
{{- ternary .Values.tls.port "grpc" (and .Values.tls.enabled (not (empty .Values.tls.port))) -}}
{{- end }}

{{- define "twintier.appProtocol" -}}
{{- default (ternary "https" "kubernetes.io/h2c" .Values.tls.enabled) .Values.service.appProtocol -}}
{{- end }}

{{/* Port of the OpenTelemetry collector. */}}
{{- define "twintier.otelPort" -}}
{{- $scheme := ternary "443" "80" (hasPrefix "https:" .Values.otel.endpoint) -}}
{{- $port := regexFind ":[0-9]+$" (urlParse .Values.otel.endpoint).host | trimPrefix ":" -}}
{{- .Values.networkPolicy.otelPort | default $port | default $scheme -}}
{{- end }}

{{/* Cache namespace for examples and tests: empty for the default namespace, else a configured one. */}}
{{- define "twintier.tryNamespace" -}}
{{- $namespaces := default dict .Values.config.namespaces -}}
{{- if and (eq "true" (include "twintier.setting" (list . "cache.strict_namespaces" "false"))) (not (hasKey $namespaces "default")) -}}
{{- keys $namespaces | sortAlpha | first -}}
{{- end -}}
{{- end }}

{{/* Milliseconds of a duration such as 5s, 1h30m or 250ms; the schema admits no other units. */}}
{{- define "twintier.milliseconds" -}}
{{- $total := 0 -}}
{{- $units := dict "ns" 0 "us" 0 "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- range regexFindAll "[0-9]+[a-z]+" (nospace .) -1 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $total = add $total (mul (int64 (trimSuffix $unit .)) (get $units $unit)) -}}
{{- end -}}
{{- $total -}}
{{- end }}

{{/* Bytes of a size of the service, such as 256MiB, 1GB or 1024. */}}
{{- define "twintier.bytes" -}}
{{- $text := upper (nospace (toString .)) -}}
{{- $number := regexFind "^[0-9]+" $text -}}
{{- $unit := trimSuffix "B" (trimPrefix $number $text) -}}
{{- $units := dict "" 1 "K" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "KI" 1024 "MI" 1048576 "GI" 1073741824 "TI" 1099511627776 -}}
{{- mul (int64 $number) (get $units $unit) -}}
{{- end }}

{{/* Bytes of a Kubernetes quantity. */}}
{{- define "twintier.quantity" -}}
{{- include "twintier.quantityFloat" . | float64 | int64 -}}
{{- end }}

{{/* Amount of a Kubernetes quantity, such as 512Mi, 0.5Gi, 250m, 8e8 or a number. */}}
{{- define "twintier.quantityFloat" -}}
{{- if not (kindIs "string" .) -}}
{{- float64 . -}}
{{- else -}}
{{- $number := regexFind "^[0-9.]+([eE][+-]?[0-9]+)?" . -}}
{{- $unit := trimPrefix $number . -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- mulf (float64 $number) (get $units $unit) -}}
{{- end -}}
{{- end }}

{{/* A Kubernetes quantity as text, even if the value is a number. */}}
{{- define "twintier.quantityText" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else if eq (floor .) (float64 .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end }}

{{/* Milliseconds or bytes. Arguments: the kind (duration or size) and the text. */}}
{{- define "twintier.amount" -}}
{{- include (ternary "twintier.milliseconds" "twintier.bytes" (eq (index . 0) "duration")) (index . 1) -}}
{{- end }}

{{/*
Memory of a pod, in MiB, by the formula of docs/capacity.md: 64 MiB, and 1.2 times the entries in memory and the bytes in flight.
List of bytes of entries and bytes in flight.
*/}}
{{- define "twintier.memoryNeeded" -}}
{{- add 64 (ceil (divf (mulf 1.2 (addf (index . 0) (index . 1))) 1048576)) -}}
{{- end }}

{{/* Smallest memory tier that the service accepts: eight values of the largest size. */}}
{{- define "twintier.leastL1" -}}
{{- max 1048576 (mul 8 (include "twintier.bytes" (include "twintier.setting" (list . "limits.value_size" "1MiB")))) -}}
{{- end }}

{{- define "twintier.bytesInFlight" -}}
{{- include "twintier.bytes" (include "twintier.setting" (list . "server.max_bytes_in_flight" "256MiB")) -}}
{{- end }}

{{/*
Size of the memory tier: that of `config`, else what the memory limit leaves by the formula above, else nothing: the service's default.
Empty too where the limit leaves nothing, which twintier.check refuses.
*/}}
{{- define "twintier.l1Size" -}}
{{- $set := include "twintier.setting" (list . "l1.size" "") -}}
{{- $limit := dig "limits" "memory" "" (default dict .Values.resources) -}}
{{- if $set -}}
{{- $set -}}
{{- else if $limit -}}
{{- $limit = divf (include "twintier.quantity" $limit) 1048576 -}}
{{- $size := subf (divf (subf $limit 64) 1.2) (divf (include "twintier.bytesInFlight" .) 1048576) | floor | int64 -}}
{{- if gt $size 0 -}}{{ $size }}MiB{{- end -}}
{{- end -}}
{{- end }}

{{/* Path of the unix socket. Empty if the service has none. */}}
{{- define "twintier.socket" -}}
{{- if .Values.unixSocket.enabled -}}{{ trimSuffix "/" .Values.unixSocket.mountPath }}/grpc.sock{{- end -}}
{{- end }}

{{/* Settings of `redis` that name the files of keys. */}}
{{- define "twintier.redisKeyFiles" -}}
{{- range $setting, $keys := dict "mac_key_files" .Values.redis.protection.macKeys "encryption_key_files" .Values.redis.protection.encryptionKeys }}
{{- with $keys }}
{{ $setting }}:
{{- range . }}
  - /etc/twintier/redis-keys/{{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Configuration file of the service: `config`, with the size of the memory tier, the unix socket and the mounted files. */}}
{{- define "twintier.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- with include "twintier.l1Size" . -}}
{{- $_ := set $config "l1" (merge (dict "size" .) (default dict $config.l1)) -}}
{{- end -}}
{{- with include "twintier.socket" . -}}
{{- $_ := set $config "server" (merge (dict "listen_unix" .) (default dict $config.server)) -}}
{{- end -}}
{{- with fromYaml (include "twintier.redisKeyFiles" .) -}}
{{- $_ := set $config "redis" (merge . (default dict $config.redis)) -}}
{{- end -}}
{{- if include "twintier.servesTls" . -}}
{{- $files := dict "cert_file" "/etc/twintier/tls/tls.crt" "key_file" "/etc/twintier/tls/tls.key" -}}
{{- with .Values.tls.keys.clientCa -}}{{- $_ := set $files "client_ca_file" (printf "/etc/twintier/tls/%s" .) -}}{{- end -}}
{{- with .Values.tls.keys.crl -}}{{- $_ := set $files "crl_file" (printf "/etc/twintier/tls/%s" .) -}}{{- end -}}
{{- $_ := set $config "tls" (merge $files (default dict $config.tls)) -}}
{{- $_ := set $config "admin" (merge (default dict $config.admin) (dict "probes_listen" (printf "[::]:%s" (include "twintier.probesPort" .)))) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* Grace period of a pod in seconds. */}}
{{- define "twintier.gracePeriod" -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- else -}}
{{- include "twintier.computedGracePeriod" . -}}
{{- end -}}
{{- end }}

{{/* Seconds of a drain, plus 5: the pod keeps serving for the delay, then finishes its calls. */}}
{{- define "twintier.computedGracePeriod" -}}
{{- $delay := include "twintier.milliseconds" (include "twintier.setting" (list . "drain.delay" "5s")) -}}
{{- $timeout := include "twintier.milliseconds" (include "twintier.setting" (list . "drain.timeout" "20s")) -}}
{{- add 5 (ceil (divf (add $delay $timeout) 1000)) -}}
{{- end }}

{{/* "true" if the values configure a Redis, else empty. */}}
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

{{/* Largest number of replicas. */}}
{{- define "twintier.mostReplicas" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end }}

{{/* Settings that name a file of redis.existingSecret: `setting: key`. */}}
{{- define "twintier.redisFiles" -}}
{{- with .Values.redis -}}
{{- if .existingSecret -}}
{{- $password := kindIs "invalid" .keys.password | ternary (ternary "" "password" (not (empty .keys.url))) .keys.password }}
{{- with $password }}
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

{{/*
Replicas of the Deployment under autoscaling: as many as there are, within the bounds, so that an upgrade does not scale; at first minReplicas.
Zero stays zero: it pauses the autoscaler.
*/}}
{{- define "twintier.scaledReplicas" -}}
{{- $live := dig "spec" "replicas" "" (default dict (lookup "apps/v1" "Deployment" .Release.Namespace (include "twintier.fullname" .))) -}}
{{- if kindIs "string" $live -}}
{{- .Values.autoscaling.minReplicas -}}
{{- else if eq (int $live) 0 -}}
0
{{- else -}}
{{- min (max (int $live) (int .Values.autoscaling.minReplicas)) (int .Values.autoscaling.maxReplicas) -}}
{{- end -}}
{{- end }}
