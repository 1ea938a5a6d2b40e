{{/* Refuses values that would not have the expected effect. Reports all problems at once. */}}

{{- define "twintier.check" -}}
{{- $problems := list -}}
{{- $url := include "twintier.setting" (list . "redis.url" "") -}}

{{- if and (gt (int (include "twintier.mostReplicas" .)) 1) (not (include "twintier.hasRedis" .)) -}}
{{- $problems = append $problems "several replicas need a Redis that they share, since each would answer from a cache of its own: set config.redis.url, or redis.existingSecret and redis.keys.url, or devRedis.enabled to try it out, or else replicaCount to 1" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- $problems = append $problems "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.targetCPUUtilizationPercentage) (not .Values.autoscaling.metrics) -}}
{{- $problems = append $problems "autoscaling.enabled needs a measure: set autoscaling.targetCPUUtilizationPercentage or autoscaling.metrics" -}}
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

{{- with .Values.redis.protection -}}
{{- $named := or .macKeys .encryptionKeys -}}
{{- if and $named (not .existingSecret) -}}
{{- $problems = append $problems "redis.protection.macKeys and redis.protection.encryptionKeys name keys of redis.protection.existingSecret, which is not set" -}}
{{- end -}}
{{- if and .existingSecret (not $named) -}}
{{- $problems = append $problems "redis.protection.existingSecret has no effect without redis.protection.macKeys or redis.protection.encryptionKeys" -}}
{{- end -}}
{{- if and $named (not (include "twintier.hasRedis" $)) -}}
{{- $problems = append $problems "redis.protection has no effect without a Redis: set config.redis.url or redis.keys.url" -}}
{{- end -}}
{{- range $setting, $_ := fromYaml (include "twintier.redisKeyFiles" $) -}}
{{- if include "twintier.setting" (list $ (printf "redis.%s" $setting) "") -}}
{{- $problems = append $problems (printf "config.redis.%s and redis.protection both name key files: choose one" $setting) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if eq "false" (include "twintier.setting" (list . "server.tcp" "true")) -}}
{{- if not (and .Values.tls.enabled .Values.tls.port (or .Values.unixSocket.enabled (include "twintier.setting" (list . "server.listen_unix" "")))) -}}
{{- $problems = append $problems "config.server.tcp: false leaves callers and probes without a port: set tls.enabled and tls.port for a proxy in the pod, and unixSocket.enabled for its way to the service" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.unixSocket.enabled (include "twintier.setting" (list . "server.listen_unix" "")) -}}
{{- $problems = append $problems "unixSocket.enabled sets config.server.listen_unix: set only one of the two" -}}
{{- end -}}
{{- range $address := list "server.listen" "admin.listen" -}}
{{- $default := ternary "127.0.0.1:50051" "" (eq $address "server.listen") -}}
{{- if and (or (eq $address "server.listen") (include "twintier.adminPort" $)) (regexMatch "^(127\\.|localhost|\\[::1\\])" (include "twintier.setting" (list $ $address $default))) -}}
{{- if not (and (eq $address "server.listen") $.Values.tls.enabled $.Values.tls.port) -}}
{{- $problems = append $problems (printf "config.%s has to be an address that others reach, such as %s" $address (get (dict "server.listen" "[::]:50051" "admin.listen" "[::]:9090") $address)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq (include "twintier.adminPort" .) (include "twintier.grpcPort" .) -}}
{{- $problems = append $problems "config.server.listen and config.admin.listen have the same port" -}}
{{- end -}}
{{- if and .Values.tls.port (has (include "twintier.callPort" .) (list (include "twintier.grpcPort" .) (include "twintier.adminPort" .))) .Values.tls.enabled -}}
{{- $problems = append $problems "tls.port is a port of the service itself: it has to be that of the proxy" -}}
{{- end -}}
{{- with .Values.tls -}}
{{- $serves := include "twintier.servesTls" $ -}}
{{- if and .certificate.enabled .existingSecret -}}
{{- $problems = append $problems "tls.certificate.enabled and tls.existingSecret are both set: choose one" -}}
{{- end -}}
{{- if and .certificate.enabled (not .enabled) -}}
{{- $problems = append $problems "tls.certificate.enabled has no effect without tls.enabled" -}}
{{- end -}}
{{- if and .certificate.enabled (not .certificate.issuerRef.name) -}}
{{- $problems = append $problems "tls.certificate.issuerRef.name has to name an issuer of cert-manager" -}}
{{- end -}}
{{- if $serves -}}
{{- if not (include "twintier.tlsSecret" $) -}}
{{- $problems = append $problems "tls.mode: service needs a certificate: set tls.existingSecret or tls.certificate.enabled" -}}
{{- end -}}
{{- if .port -}}
{{- $problems = append $problems "tls.port is that of a proxy: it has no effect with tls.mode: service" -}}
{{- end -}}
{{- if has (include "twintier.probesPort" $) (list (include "twintier.grpcPort" $) (include "twintier.adminPort" $) (include "twintier.plainPort" $)) -}}
{{- $problems = append $problems "tls.probesPort is a port of the service already" -}}
{{- end -}}
{{- else if or .keys.clientCa .keys.crl -}}
{{- $problems = append $problems "tls.keys has no effect without tls.enabled and tls.mode: service" -}}
{{- end -}}
{{- end -}}
{{- if not (include "twintier.adminPort" .) -}}
{{- if .Values.tls.enabled -}}
{{- $problems = append $problems "tls.enabled needs the admin port for its probes: set config.admin.listen to [::]:9090" -}}
{{- end -}}
{{- range $monitor := list "serviceMonitor" "podMonitor" -}}
{{- if (get $.Values.metrics $monitor).enabled -}}
{{- $problems = append $problems (printf "metrics.%s.enabled needs the admin port: set config.admin.listen to [::]:9090" $monitor) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $memory := dig "limits" "memory" "" (default dict .Values.resources) -}}
{{- if $memory -}}
{{- $text := include "twintier.quantityText" $memory -}}
{{- $flight := include "twintier.setting" (list . "server.max_bytes_in_flight" "256MiB") -}}
{{- $l1 := include "twintier.l1Size" . -}}
{{- $least := include "twintier.leastL1" . -}}
{{- if or (not $l1) (lt (int64 (include "twintier.bytes" $l1)) (int64 $least)) -}}
{{- if not (include "twintier.setting" (list . "l1.size" "")) -}}
{{- $needed := include "twintier.memoryNeeded" (list $least (include "twintier.bytesInFlight" .)) -}}
{{- $problems = append $problems (printf "resources.limits.memory is %s, which leaves no room for the memory tier beside server.max_bytes_in_flight (%s): raise it to at least %sMi, or lower config.server.max_bytes_in_flight" $text $flight $needed) -}}
{{- end -}}
{{- else -}}
{{- $needed := include "twintier.memoryNeeded" (list (include "twintier.bytes" $l1) (include "twintier.bytesInFlight" .)) -}}
{{- if gt (addf 67108864 (mulf 1.2 (addf (include "twintier.bytes" $l1) (include "twintier.bytesInFlight" .)))) (float64 (include "twintier.quantity" $memory)) -}}
{{- $problems = append $problems (printf "resources.limits.memory is %s, but config.l1.size (%s) and server.max_bytes_in_flight (%s) need %sMi, 64Mi and 1.2 times both: raise it, or lower these, or leave config.l1.size out to have it follow the limit" $text $l1 $flight $needed) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $problems = concat $problems (fromYamlArray (include "twintier.settingProblems" .)) -}}
{{- $problems = concat $problems (fromYamlArray (include "twintier.objectProblems" .)) -}}

{{- if and .Values.service.trafficDistribution (semverCompare "<1.31.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $problems = append $problems "service.trafficDistribution needs Kubernetes 1.31 or newer" -}}
{{- end -}}
{{- with .Values.service -}}
{{- if and (gt (len .ipFamilies) 1) (or (not .ipFamilyPolicy) (eq .ipFamilyPolicy "SingleStack")) -}}
{{- $problems = append $problems "service.ipFamilies names two families, which needs service.ipFamilyPolicy PreferDualStack or RequireDualStack" -}}
{{- end -}}
{{- if and (eq .type "ClusterIP") (or .nodePort .externalTrafficPolicy) -}}
{{- $problems = append $problems "service.nodePort and service.externalTrafficPolicy need the service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- range $name := list "loadBalancerSourceRanges" "loadBalancerClass" -}}
{{- if and (ne $.Values.service.type "LoadBalancer") (get $.Values.service $name) -}}
{{- $problems = append $problems (printf "service.%s needs the service.type LoadBalancer" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- $problems = append $problems "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled are both set: every series would be there twice" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $problems = append $problems "ingress.hosts has to name a host" -}}
{{- end -}}
{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) -}}
{{- $problems = append $problems "grpcRoute.parentRefs has to name a Gateway" -}}
{{- end -}}

{{- if $problems -}}
{{- fail (printf "\n\nThese values cannot work:\n- %s\n" (join "\n- " $problems)) -}}
{{- end -}}
{{- end }}


{{/* Settings that the program would refuse at its start and that no schema can express, as a YAML list of problems. */}}
{{- define "twintier.settingProblems" -}}
{{- $problems := list -}}
{{- $config := .Values.config -}}
{{- $namespaces := default dict $config.namespaces -}}

{{- range $path, $bound := fromYaml (.Files.Get "bounds.yaml") -}}
{{- $values := dict -}}
{{- if hasPrefix "namespaces." $path -}}
{{- $field := trimPrefix "namespaces.<name>." $path -}}
{{- range $name, $policy := $namespaces -}}
{{- if and $policy (hasKey $policy $field) -}}{{- $_ := set $values (printf "namespaces.%s.%s" $name $field) (get $policy $field) -}}{{- end -}}
{{- end -}}
{{- else -}}
{{- with include "twintier.setting" (list $ $path "") -}}{{- $_ := set $values $path . -}}{{- end -}}
{{- end -}}
{{- range $at, $value := $values -}}
{{- $amount := int64 (include "twintier.amount" (list $bound.kind $value)) -}}
{{- if or (lt $amount (int64 (include "twintier.amount" (list $bound.kind $bound.min)))) (gt $amount (int64 (include "twintier.amount" (list $bound.kind $bound.max)))) -}}
{{- $problems = append $problems (printf "config.%s has to be from %s to %s, and is %s" $at $bound.min $bound.max $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $section := list "namespaces" "events" -}}
{{- range $name, $_ := default dict (get $config $section) -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$" $name) -}}
{{- $problems = append $problems (printf "config.%s.%s: a name has 1 to 64 characters of [a-z0-9._-], and begins and ends with a letter or digit" $section $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $address := list "server.listen" "admin.listen" -}}
{{- with include "twintier.setting" (list $ $address "") -}}
{{- if or (gt (int (include "twintier.port" .)) 65535) (lt (int (include "twintier.port" .)) 1) -}}
{{- $problems = append $problems (printf "config.%s has to have a port from 1 to 65535, and is %s" $address .) -}}
{{- end -}}
{{- range regexFindAll "[0-9]+" (regexFind "^[0-9.]+:" .) -1 -}}
{{- if gt (int .) 255 -}}
{{- $problems = append $problems (printf "config.%s is no IP address: %s is more than 255" $address .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $value := int64 (include "twintier.bytes" (include "twintier.setting" (list . "limits.value_size" "1MiB"))) -}}
{{- if and (include "twintier.setting" (list . "l1.size" "")) (gt $value (div (int64 (include "twintier.bytes" (include "twintier.l1Size" .))) 8)) -}}
{{- $problems = append $problems "config.limits.value_size has to be at most an eighth of config.l1.size" -}}
{{- end -}}
{{- if gt $value (div (int64 (include "twintier.bytesInFlight" .)) 4) -}}
{{- $problems = append $problems "config.limits.value_size has to be at most a quarter of config.server.max_bytes_in_flight" -}}
{{- end -}}

{{- range $at, $policy := merge (dict "cache" (default dict $config.cache)) (include "twintier.prefixedNamespaces" . | fromYaml) -}}
{{- $ttl := dict -}}
{{- range $name, $default := dict "min_ttl" "1ms" "default_ttl" "5m" "max_ttl" "30d" -}}
{{- $inherited := include "twintier.setting" (list $ (printf "cache.%s" $name) $default) -}}
{{- $_ := set $ttl $name (int64 (include "twintier.milliseconds" (get (default dict $policy) $name | default $inherited))) -}}
{{- end -}}
{{- range $pair := list (list "min_ttl" "default_ttl") (list "default_ttl" "max_ttl") -}}
{{- $given := or (eq $at "cache") (hasKey (default dict $policy) (index $pair 0)) (hasKey (default dict $policy) (index $pair 1)) -}}
{{- if and $given (gt (get $ttl (index $pair 0)) (get $ttl (index $pair 1))) -}}
{{- $problems = append $problems (printf "config.%s.%s has to be at most config.%s.%s" $at (index $pair 0) $at (index $pair 1)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $url := include "twintier.setting" (list . "redis.url" "") -}}
{{- $redis := default dict $config.redis -}}
{{- if $url -}}
{{- if not (regexMatch "^(?i)(redis|rediss)(-sentinel|-cluster)?://[^/\\s]|^(?i)(redis\\+)?unix:///[^\\s]" $url) -}}
{{- $problems = append $problems (printf "config.redis.url has to begin with redis://, redis-sentinel://, redis-cluster://, their rediss forms, or unix:///, such as redis://%s" (regexReplaceAll "^.*(://|@)" $url "")) -}}
{{- else -}}
{{- if and (regexMatch "^(?i)rediss?://[^/?]*," $url) -}}
{{- $problems = append $problems "config.redis.url names several servers, which needs redis-sentinel:// or redis-cluster://" -}}
{{- end -}}
{{- if and (regexMatch "^(?i)rediss?-sentinel:" $url) (not (regexMatch "[?&]service=[^&]" $url)) -}}
{{- $problems = append $problems "config.redis.url has to name the service of the sentinels, as ?service=NAME" -}}
{{- end -}}
{{- if regexMatch "^(?i)rediss?-cluster://[^/]*/[1-9]" $url -}}
{{- $problems = append $problems "config.redis.url must not name a database: a Cluster has only one" -}}
{{- end -}}
{{- if not (regexMatch "^(?i)rediss?-sentinel:" $url) -}}
{{- range list "sentinel_username" "sentinel_password_file" -}}
{{- if get $redis . -}}
{{- $problems = append $problems (printf "config.redis.%s has no effect without redis-sentinel://" .) -}}
{{- end -}}
{{- end -}}
{{- if and $.Values.redis.existingSecret $.Values.redis.keys.sentinelPassword -}}
{{- $problems = append $problems "redis.keys.sentinelPassword has no effect without redis-sentinel://" -}}
{{- end -}}
{{- end -}}
{{- if not (regexMatch "^(?i)rediss" $url) -}}
{{- if or $redis.tls_ca_file (and $.Values.redis.existingSecret $.Values.redis.keys.ca) -}}
{{- $problems = append $problems "config.redis.tls_ca_file and redis.keys.ca have no effect without rediss://" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- else if not (include "twintier.hasRedis" .) -}}
{{- range $name, $value := $redis -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $problems = append $problems (printf "config.redis.%s has no effect without config.redis.url" $name) -}}
{{- end -}}
{{- end -}}
{{- if fromYaml (include "twintier.redisFiles" .) -}}
{{- $problems = append $problems "redis.existingSecret has no effect without a Redis: set config.redis.url or redis.keys.url" -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{/* The namespaces of `config`, by the path that errors name. */}}
{{- define "twintier.prefixedNamespaces" -}}
{{- $found := dict -}}
{{- range $name, $policy := default dict .Values.config.namespaces -}}
{{- $_ := set $found (printf "namespaces.%s" $name) (default dict $policy) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end }}

{{/* Values that Kubernetes would refuse or that break the rendered objects, as a YAML list of problems. */}}
{{- define "twintier.objectProblems" -}}
{{- $problems := list -}}
{{- $selector := fromYaml (include "twintier.selectorLabels" (list . "server")) -}}
{{- range $value := list "podLabels" "commonLabels" -}}
{{- range $label, $_ := get $.Values $value -}}
{{- if hasKey $selector $label -}}
{{- $problems = append $problems (printf "%s must not have the label %s: by it the chart selects its pods" $value $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) -}}
{{- $draining := sub (int (include "twintier.computedGracePeriod" .)) 5 -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $draining) -}}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is %d, but config.drain.delay and config.drain.timeout take %d s: Kubernetes would kill the pod while it drains" (int .Values.terminationGracePeriodSeconds) (int $draining)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.enabled (not (kindIs "invalid" .Values.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable)) -}}
{{- $problems = append $problems "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both set: set one of them to null" -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.enabled (kindIs "invalid" .Values.podDisruptionBudget.minAvailable) (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable) -}}
{{- $problems = append $problems "podDisruptionBudget needs minAvailable or maxUnavailable, or enabled set to false" -}}
{{- end -}}
{{- range $kind, $resources := dict "resources" .Values.resources "devRedis.resources" .Values.devRedis.resources -}}
{{- range $name, $request := dig "requests" dict (default dict $resources) -}}
{{- $limit := dig "limits" $name "" $resources -}}
{{- if and $request $limit (gt (mulf 1000 (include "twintier.quantityFloat" $request)) (mulf 1000 (include "twintier.quantityFloat" $limit))) -}}
{{- $problems = append $problems (printf "%s.requests.%s (%s) is more than %s.limits.%s (%s)" $kind $name (include "twintier.quantityText" $request) $kind $name (include "twintier.quantityText" $limit)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}
