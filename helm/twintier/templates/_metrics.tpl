{{/* Scrape endpoint of a replica. Arguments: the context and the values of the monitor. */}}
{{- define "twintier.scrape" -}}
{{- $context := index . 0 -}}
{{- with index . 1 }}
- port: admin
  path: /metrics
  {{- if eq "https" (include "twintier.adminScheme" $context) }}
  scheme: https
  tlsConfig:
    {{- if $context.Values.metrics.tlsConfig }}
    {{- toYaml $context.Values.metrics.tlsConfig | nindent 4 }}
    {{- else }}
    ca:
      secret:
        name: {{ include "twintier.tlsSecret" $context }}
        key: ca.crt
    serverName: {{ include "twintier.fullname" $context }}.{{ $context.Release.Namespace }}.svc
    {{- end }}
  {{- end }}
  # The label namespace means a namespace of the cache, not of the pod.
  honorLabels: true
  {{- if $context.Values.auth.scrapeTokenKey }}
  authorization:
    credentials:
      name: {{ $context.Values.auth.existingSecret }}
      key: {{ $context.Values.auth.scrapeTokenKey }}
  {{- end }}
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  relabelings:
    # Alerts and the dashboard identify the release by its job, and a replica by its pod.
    - targetLabel: job
      replacement: {{ include "twintier.job" $context }}
    - sourceLabels: [__meta_kubernetes_pod_name]
      targetLabel: instance
    {{- with .relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
