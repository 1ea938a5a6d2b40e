{{/* Refuses values that would not do what they seem to. Every problem is named at once. */}}

{{- define "twintier.check" -}}
{{- $problems := list -}}
{{- $url := include "twintier.setting" (list . "redis.url" "") -}}

{{- if and (gt (int (include "twintier.mostReplicas" .)) 1) (not (include "twintier.hasRedis" .)) -}}
{{- $problems = append $problems "several replicas need a Redis that they share, since each would answer from a cache of its own: set config.redis.url, or redis.existingSecret and redis.keys.url, or devRedis.enabled to try it out, or else replicaCount to 1" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- $problems = append $problems "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}

{{- if or (include "twintier.setting" (list . "redis.password" "")) (include "twintier.setting" (list . "redis.sentinel_password" "")) (regexMatch "//[^/@]*:[^/@]+@" $url) -}}
{{- $problems = append $problems "config is a ConfigMap that many may read, and holds a password: put it into a Secret and name that in redis.existingSecret" -}}
{{- end -}}
{{- if and .Values.devRedis.enabled (or $url (and .Values.redis.existingSecret .Values.redis.keys.url)) -}}
{{- $problems = append $problems "devRedis.enabled and the URL of another Redis are both set: choose one" -}}
{{- end -}}
{{- if .Values.redis.existingSecret -}}
{{- if and $url .Values.redis.keys.url -}}
{{- $problems = append $problems "config.redis.url and redis.keys.url are both set: choose one" -}}
{{- end -}}
{{- if and .Values.redis.keys.username (include "twintier.setting" (list . "redis.username" "")) -}}
{{- $problems = append $problems "config.redis.username and redis.keys.username are both set: choose one" -}}
{{- end -}}
{{- range $setting, $key := fromYaml (include "twintier.redisFiles" .) -}}
{{- if include "twintier.setting" (list $ (printf "redis.%s" $setting) "") -}}
{{- $problems = append $problems (printf "config.redis.%s and redis.existingSecret both name a file: choose one" $setting) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $address := list "server.listen" "admin.listen" -}}
{{- $default := ternary "127.0.0.1:50051" "" (eq $address "server.listen") -}}
{{- if and (or (eq $address "server.listen") (include "twintier.adminPort" $)) (regexMatch "^(127\\.|localhost|\\[::1\\])" (include "twintier.setting" (list $ $address $default))) -}}
{{- if not (and (eq $address "server.listen") $.Values.tls.enabled $.Values.tls.port) -}}
{{- $problems = append $problems (printf "config.%s has to be an address that others reach, such as %s" $address (get (dict "server.listen" "0.0.0.0:50051" "admin.listen" "0.0.0.0:9090") $address)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq (include "twintier.adminPort" .) (include "twintier.grpcPort" .) -}}
{{- $problems = append $problems "config.server.listen and config.admin.listen have the same port" -}}
{{- end -}}
{{- if and .Values.tls.port (has (include "twintier.callPort" .) (list (include "twintier.grpcPort" .) (include "twintier.adminPort" .))) .Values.tls.enabled -}}
{{- $problems = append $problems "tls.port is a port of the service itself: it has to be that of the proxy" -}}
{{- end -}}
{{- if not (include "twintier.adminPort" .) -}}
{{- if .Values.tls.enabled -}}
{{- $problems = append $problems "tls.enabled needs the admin port for its probes: set config.admin.listen to 0.0.0.0:9090" -}}
{{- end -}}
{{- if .Values.metrics.serviceMonitor.enabled -}}
{{- $problems = append $problems "metrics.serviceMonitor.enabled needs the admin port: set config.admin.listen to 0.0.0.0:9090" -}}
{{- end -}}
{{- end -}}

{{- $memory := dig "limits" "memory" "" .Values.resources -}}
{{- if $memory -}}
{{- $l1 := include "twintier.setting" (list . "l1.size" "256MiB") -}}
{{- $flight := include "twintier.setting" (list . "server.max_bytes_in_flight" "256MiB") -}}
{{- $needed := add (include "twintier.bytes" $l1) (include "twintier.bytes" $flight) 67108864 -}}
{{- if lt (int64 (include "twintier.bytes" $memory)) $needed -}}
{{- $problems = append $problems (printf "resources.limits.memory is %s, and l1.size (%s), server.max_bytes_in_flight (%s) and 64MiB besides need %dMi: raise it, or lower these" $memory $l1 $flight (int64 (ceil (divf $needed 1048576)))) -}}
{{- end -}}
{{- end -}}

{{- with .Values.service -}}
{{- if and (eq .type "ClusterIP") (or .nodePort .externalTrafficPolicy) -}}
{{- $problems = append $problems "service.nodePort and service.externalTrafficPolicy need the service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and (ne .type "LoadBalancer") .loadBalancerSourceRanges -}}
{{- $problems = append $problems "service.loadBalancerSourceRanges needs the service.type LoadBalancer" -}}
{{- end -}}
{{- end -}}

{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) -}}
{{- $problems = append $problems "grpcRoute.parentRefs has to name a Gateway" -}}
{{- end -}}

{{- if $problems -}}
{{- fail (printf "\n\nThese values cannot work:\n- %s\n" (join "\n- " $problems)) -}}
{{- end -}}
{{- end }}
