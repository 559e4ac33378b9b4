{{/* What several templates share: labels, images, and what every pod and container has. */}}

{{- define "wrdata.labels" -}}
app.kubernetes.io/part-of: wrdata
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ include "wrdata.version" .root | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "wrdata.selector" -}}
app.kubernetes.io/part-of: wrdata
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{- define "wrdata.version" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "wrdata.image" -}}
{{ printf "%s/wrdata-%s:%s" .root.Values.image.registry .name (include "wrdata.version" .root) }}
{{- end -}}

{{/* Where the process talks to the API of Kubernetes it has an account for that, else none. */}}
{{- define "wrdata.account" -}}
{{- if and .launches (eq .root.Values.runs "jobs") }}
serviceAccountName: wrdata-launcher
automountServiceAccountToken: true
{{- else }}
serviceAccountName: wrdata-run
automountServiceAccountToken: false
{{- end }}
{{- end -}}

{{/*
Of a pod. Its user owns the volumes. No variables for services: one that begins with wrdata would look
like a setting that nobody knows. The first process is not ours: it would get no signal that it does
not handle.
*/}}
{{- define "wrdata.pod" -}}
{{- include "wrdata.account" . }}
enableServiceLinks: false
shareProcessNamespace: true
priorityClassName: {{ .priority | default "wrdata-service" }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Pods of one kind stand on several machines, as far as there are several. */}}
{{- define "wrdata.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "wrdata.selector" . | nindent 8 }}
{{- end -}}

{{- define "wrdata.security" -}}
securityContext:
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Another dagster.yaml, or another setting, starts the pods anew. */}}
{{- define "wrdata.checksums" -}}
checksum/settings: {{ include (print .Template.BasePath "/settings.yaml") . | sha256sum }}
{{- end -}}

{{- define "wrdata.environment" -}}
envFrom:
  - configMapRef: {name: wrdata-settings}
  {{- range . }}
  - secretRef: {name: {{ . }}}
  {{- end }}
{{- end -}}

{{/* DAGSTER_HOME: its two files, and the folder that may be written to. */}}
{{- define "wrdata.mounts" -}}
volumeMounts:
  - {name: scratch, mountPath: /tmp}
  - {name: storage, mountPath: /opt/wrdata/storage}
  - {name: instance, mountPath: /opt/wrdata/dagster.yaml, subPath: dagster.yaml, readOnly: true}
  - {name: instance, mountPath: /opt/wrdata/workspace.yaml, subPath: workspace.yaml, readOnly: true}
  - {name: authority, mountPath: /etc/wrdata/tls, readOnly: true}
{{- end -}}

{{- define "wrdata.volumes" -}}
volumes:
  - name: scratch
    emptyDir: {sizeLimit: {{ . }}}
  - name: storage
    emptyDir: {sizeLimit: 1Gi}
  - name: instance
    configMap: {name: wrdata-instance}
  - name: authority
    configMap: {name: wrdata-authority}
{{- end -}}

{{- define "wrdata.components" -}}
matchLabels: {app.kubernetes.io/part-of: wrdata}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [{{ join ", " . }}]}
{{- end -}}

{{/* A rule without peers would let everything pass: then there is none. */}}
{{- define "wrdata.egress" -}}
{{- if .peers }}
- to: {{ toYaml .peers | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ .port }}}
{{- end }}
{{- end -}}
