{{/* Names, labels and images. */}}

{{- define "twintier.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* First part of the names of objects, short enough for the suffixes. A Service's name has no dots and begins with a letter. */}}
{{- define "twintier.fullname" -}}
{{- $name := include "twintier.name" . -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $full := ternary $release (printf "%s-%s" $release $name) (contains $name $release) -}}
{{- if regexMatch "^[0-9]" $full -}}
{{- $full = printf "%s-%s" .Chart.Name $release -}}
{{- end -}}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* Job of the release in Prometheus, unique in a cluster. */}}
{{- define "twintier.job" -}}
{{ .Release.Namespace }}/{{ include "twintier.fullname" . }}
{{- end }}

{{- define "twintier.headlessName" -}}
{{ include "twintier.fullname" . }}-headless
{{- end }}

{{- define "twintier.devRedisName" -}}
{{ include "twintier.fullname" . }}-redis
{{- end }}

{{- define "twintier.serviceAccountName" -}}
{{- $default := ternary (include "twintier.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $default .Values.serviceAccount.name -}}
{{- end }}

{{/* Selector labels of the pods of a component. Arguments: the context and the component's name. */}}
{{- define "twintier.selectorLabels" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ include "twintier.name" $context }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of the pods of a component. Same arguments. The chart's label is not included, so that a new chart version alone restarts no pod. */}}
{{- define "twintier.podLabels" -}}
{{- $context := index . 0 -}}
{{ include "twintier.selectorLabels" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: twintier
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
{{- with $context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of an object of a component. Same arguments. */}}
{{- define "twintier.labels" -}}
{{- $context := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "twintier.podLabels" . }}
{{- end }}

{{/* The image of the service. */}}
{{- define "twintier.image" -}}
{{- include "twintier.imageOf" (list . .Values.image .Chart.AppVersion) -}}
{{- end }}

{{/*
An image with its registry: list of the context, the values of the image and the default tag. `global.imageRegistry` replaces the registry of
the repository, if that names one.
*/}}
{{- define "twintier.imageOf" -}}
{{- $context := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := $image.repository -}}
{{- with dig "imageRegistry" "" (default dict $context.Values.global) -}}
{{- $first := first (splitList "/" $repository) -}}
{{- if and (contains "/" $repository) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) -}}
{{- $repository = trimPrefix (printf "%s/" $first) $repository -}}
{{- end -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ default (index . 2) $image.tag }}
{{- end -}}
{{- end }}

{{/* Secrets for pulling images: those of `global` and those of the chart, each once. Entries are names or `name: …`. */}}
{{- define "twintier.imagePullSecrets" -}}
{{- $names := list -}}
{{- range concat (dig "imagePullSecrets" list (default dict .Values.global)) .Values.imagePullSecrets -}}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "string" . | ternary dict .) "name")) -}}
{{- end -}}
{{- with uniq $names }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* IP families of every Service. */}}
{{- define "twintier.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end }}
