{{/* Parts of the service's container that combine several values. */}}

{{/* Environment variables: references to secrets, then those of OpenTelemetry, then the user's. */}}
{{- define "twintier.env" -}}
{{- if .Values.devRedis.enabled }}
- name: TWINTIER_REDIS_URL
  value: redis://{{ include "twintier.devRedisName" . }}:6379
{{- end }}
{{- with .Values.redis }}
{{- if .existingSecret }}
{{- range $name, $key := dict "TWINTIER_REDIS_URL" .keys.url "TWINTIER_REDIS_USERNAME" .keys.username }}
{{- if $key }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.redis.existingSecret }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $setting, $key := fromYaml (include "twintier.redisFiles" .) }}
- name: TWINTIER_REDIS_{{ upper $setting }}
  value: /etc/twintier/redis/{{ $key }}
{{- end }}
{{- include "twintier.otelEnv" . }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The standard variables of OpenTelemetry. A variable precedes those that refer to it. */}}
{{- define "twintier.otelEnv" -}}
{{- with .Values.otel }}
{{- if .endpoint }}
{{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "NODE_NAME" "spec.nodeName" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path }}
{{- end }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
{{- with .protocol }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ . | quote }}
{{- end }}
{{- range list "traces" "metrics" "logs" }}
- name: OTEL_{{ upper . }}_EXPORTER
  value: {{ ternary "otlp" "none" (has . $.Values.otel.signals) }}
{{- end }}
- name: OTEL_SERVICE_NAME
  value: {{ include "twintier.fullname" $ }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .sampleRatio | quote }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: "k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE),k8s.node.name=$(NODE_NAME)
    {{- range $name, $value := .resourceAttributes }},{{ $name }}={{ $value }}{{ end }}"
{{- end }}
{{- end }}
{{- end }}

{{- define "twintier.ports" -}}
- name: grpc
  containerPort: {{ include "twintier.grpcPort" . }}
  protocol: TCP
{{- with include "twintier.plainPort" . }}
- name: grpc-plain
  containerPort: {{ . }}
  protocol: TCP
{{- end }}
{{- with include "twintier.adminPort" . }}
- name: admin
  containerPort: {{ . }}
  protocol: TCP
{{- end }}
{{- with include "twintier.probesPort" . }}
- name: probes
  containerPort: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}

{{/* A probe: list of the context, its values, the name of grpc.health.v1 and the path of HTTP. */}}
{{- define "twintier.probe" -}}
{{- $context := index . 0 -}}
{{- if or $context.Values.tls.enabled (include "twintier.probesPort" $context) }}
httpGet:
  path: {{ index . 3 }}
  port: {{ ternary "probes" "admin" (not (empty (include "twintier.probesPort" $context))) }}
{{- else }}
grpc:
  port: {{ include "twintier.grpcPort" $context }}
  service: {{ index . 2 }}
{{- end }}
{{ toYaml (index . 1) }}
{{- end }}

{{- define "twintier.volumeMounts" -}}
- name: config
  mountPath: /etc/twintier/config
  readOnly: true
{{- if include "twintier.redisFiles" . }}
- name: redis
  mountPath: /etc/twintier/redis
  readOnly: true
{{- end }}
{{- if .Values.redis.protection.existingSecret }}
- name: redis-keys
  mountPath: /etc/twintier/redis-keys
  readOnly: true
{{- end }}
{{- if include "twintier.servesTls" . }}
- name: tls
  mountPath: /etc/twintier/tls
  readOnly: true
{{- end }}
{{- if .Values.auth.existingSecret }}
- name: auth
  mountPath: /etc/twintier/auth
  readOnly: true
{{- end }}
{{- if .Values.unixSocket.enabled }}
- name: socket
  mountPath: {{ .Values.unixSocket.mountPath }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Mode of the files of Secrets as a number; values write it as text in octal. */}}
{{- define "twintier.secretMode" -}}
{{- $mode := 0 -}}
{{- range splitList "" .Values.secretMode -}}{{- $mode = add (mul $mode 8) (int .) -}}{{- end -}}
{{- $mode -}}
{{- end }}

{{- define "twintier.volumes" -}}
- name: config
  configMap:
    name: {{ include "twintier.fullname" . }}
{{- with include "twintier.redisFiles" . }}
- name: redis
  secret:
    secretName: {{ $.Values.redis.existingSecret }}
    defaultMode: {{ include "twintier.secretMode" $ }}
    items:
      {{- range fromYaml . | values | uniq | sortAlpha }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end }}
{{- with .Values.redis.protection.existingSecret }}
- name: redis-keys
  secret:
    secretName: {{ . }}
    defaultMode: {{ include "twintier.secretMode" $ }}
{{- end }}
{{- with include "twintier.tlsSecret" . }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: {{ include "twintier.secretMode" $ }}
{{- end }}
{{- with $.Values.auth.existingSecret }}
- name: auth
  secret:
    secretName: {{ . }}
    defaultMode: {{ include "twintier.secretMode" $ }}
{{- end }}
{{- if .Values.unixSocket.enabled }}
- name: socket
  emptyDir: {}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Topology spread constraints, each with a selector. */}}
{{- define "twintier.topologySpreadConstraints" -}}
{{- range .Values.topologySpreadConstraints }}
{{- if or .labelSelector .matchLabelKeys }}
- {{ toYaml . | nindent 2 | trim }}
{{- else }}
- {{ toYaml . | nindent 2 | trim }}
  labelSelector:
    matchLabels:
      {{- include "twintier.selectorLabels" (list $ "server") | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}
