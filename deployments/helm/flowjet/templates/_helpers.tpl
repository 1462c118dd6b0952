{{- define "flowjet.image" -}}
{{ with .Values.image.registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "flowjet.labels" -}}
app.kubernetes.io/name: flowjet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Whether NATS asks who one is. The chart's own servers always do; of others nats.open says that they need not. */}}
{{- define "flowjet.keys" -}}
{{- if .Values.nats.keysSecret }}true
{{- else if or .Values.nats.enabled (not .Values.nats.open) }}{{ fail "nats.keysSecret is to name a secret with what `flowjet nats keys` makes, see values.yaml; nats.open=true is for servers of your own that ask nobody" }}{{ end -}}
{{- end }}

{{- define "flowjet.tls" -}}
{{- if and .Values.nats.tlsSecret (not .Values.nats.keysSecret) }}{{ fail "nats.tlsSecret is set and nats.keysSecret is not: set both, or keysSecret alone" }}{{ end -}}
{{- if .Values.nats.tlsSecret }}true{{ end -}}
{{- end }}

{{- define "flowjet.natsURL" -}}
{{- if .Values.nats.enabled -}}
{{- $name := .Release.Name -}}
{{- range $i := until (int .Values.nats.replicas) }}{{ if $i }},{{ end }}nats://{{ $name }}-nats-{{ $i }}.{{ $name }}-nats:4222{{ end -}}
{{- else -}}
{{- required "nats.url names the NATS servers where nats.enabled is false" .Values.nats.url -}}
{{- end -}}
{{- end }}

{{/* What bridge, worker and API are told; the context is (list $ role). */}}
{{- define "flowjet.environment" -}}
{{- $ := index . 0 -}}{{- $role := index . 1 -}}
- {name: FLOWJET_NATS_URL, value: {{ include "flowjet.natsURL" $ | quote }}}
- {name: FLOWJET_NATS_REPLICAS, value: {{ $.Values.nats.replicas | quote }}}
- {name: FLOWJET_ONE_XMLRPC, value: {{ $.Values.opennebula.xmlrpc | quote }}}
{{- with $.Values.opennebula.hooks }}
- {name: FLOWJET_ONE_HOOKS, value: {{ . | quote }}}
{{- end }}
- {name: FLOWJET_ONE_AUTH_FILE, value: /run/secrets/oneflow/oneflow_auth}
- {name: FLOWJET_ZONE, value: {{ $.Values.opennebula.zone | quote }}}
- {name: FLOWJET_DATA_DIR, value: /var/lib/flowjet}
- {name: FLOWJET_STATUS_LISTEN, value: "0.0.0.0:2480"}
- {name: FLOWJET_LOG_LEVEL, value: {{ $.Values.logLevel | quote }}}
- {name: FLOWJET_LOG_FORMAT, value: json}
{{- if include "flowjet.tls" $ }}
- {name: FLOWJET_NATS_CA_FILE, value: /run/secrets/nats-tls/ca.pem}
{{- end }}
{{- if include "flowjet.keys" $ }}
- {name: FLOWJET_NATS_NKEY_FILE, value: /run/secrets/nats/{{ $role }}.nk}
- {name: FLOWJET_NATS_PROVISION, value: "false"}
{{- end }}
{{- range $name, $value := $.Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "flowjet.mounts" -}}
{{- $ := index . 0 -}}
- {name: data, mountPath: /var/lib/flowjet}
- {name: oneflow, mountPath: /run/secrets/oneflow, readOnly: true}
{{- if include "flowjet.keys" $ }}
- {name: nats, mountPath: /run/secrets/nats, readOnly: true}
{{- end }}
{{- if include "flowjet.tls" $ }}
- {name: nats-tls, mountPath: /run/secrets/nats-tls, readOnly: true}
{{- end }}
{{- end }}

{{/* Each pod gets the key of its own role and no other. */}}
{{- define "flowjet.volumes" -}}
{{- $ := index . 0 -}}{{- $role := index . 1 -}}
- {name: data, emptyDir: {}}
- {name: oneflow, secret: {secretName: {{ $.Values.opennebula.authSecret }}, defaultMode: 0440}}
{{- if include "flowjet.keys" $ }}
- {name: nats, secret: {secretName: {{ $.Values.nats.keysSecret }}, defaultMode: 0440, items: [{key: {{ $role }}.nk, path: {{ $role }}.nk}]}}
{{- end }}
{{- if include "flowjet.tls" $ }}
- {name: nats-tls, secret: {secretName: {{ $.Values.nats.tlsSecret }}, defaultMode: 0440, items: [{key: ca.pem, path: ca.pem}]}}
{{- end }}
{{- end }}

{{- define "flowjet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "flowjet.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
