"""Configs that hold, for tests to bend."""

from __future__ import annotations

SMALL = """\
version: 1
model: {name: small, problem_type: regression}
data:
  source: {using: csv, location: data.csv}
  target_col: y
train: {framework: sklearn, entry_point: train.py}
"""

FULL = """\
# yaml-language-server: $schema=./config.schema.json
version: 1
model: {name: flight-delay, problem_type: binary_classification, owner: team@example.com, tags: {tier: gold}}
variables: {DATA: data, PORT: "8080"}
timezone: America/New_York
environments:
  staging:
    target: local
    port: ${PORT}
  production:
    {target: local, host: 127.0.0.1, port: 8081, keys: true,
     approval: {required: true, allow_self: false, expires: 7d, retrained: required}}
data:
  source: {using: parquet, location: "${DATA}/flights.parquet"}
  target_col: late
  positive_class: 1
  time_col: scheduled_at
  id_col: flight_id
  entity_cols: [carrier, tailnum]
  schema: {exclude: [junk], types: {hour: int}, sensitive_not_served: [crew_age]}
  split: {by: time, ratios: [0.7, 0.15, 0.15], seed: 1}
  expect:
    min_rows: 100
    max_rows: 1000000
    columns:
      late: {completeness: 0.9, categories: [0, 1], on_fail: warn}
      hour: {min: 0, max: 23, unique: false}
  leakage: {target: block, duplicates: warn, max_duplicates: 0.02, time_order: block}
  channel_format: parquet
steps:
  - name: audit
    entry_point: steps/audit.py
    inputs: {rows: data.train, zips: ./lookups/zips.csv}
    outputs: [facts]
    network_isolation: true
  - {name: notify, entry_point: steps/notify.sh, when: {value: "steps.audit.facts/facts.json#/rows", above: 10}}
preprocess: {entry_point: steps/preprocess.py, arguments: [--rows, "5"], max_runtime: 10m, network_isolation: true}
train:
  framework: sklearn
  entry_point: train.py
  source_dir: src
  contract: classic
  requirements: requirements.txt
  hyperparameters: {max_depth: 6, C: 0.5, names: [a, b], deep: {x: 1}, flag: true, nothing: null}
  instances: {count: 1, cpus: 2, max_runtime: 1h30m}
  network_isolation: true
postprocess: {entry_point: steps/pack.py, network_isolation: true}
evaluate:
  decision_threshold: 0.4
  slices: [carrier]
  confidence: {level: 0.9, resamples: 100}
  worst_slice: {min_rows: 40, depth: 2}
  baseline: {on_fail: block, metric: accuracy}
  custom_metrics: [{name: profit, entry_point: profit.py, function: profit, greater_is_better: true}]
  validation_criteria:
    - {metric: roc_auc, threshold: 0.70}
    - {metric: log_loss, threshold: 0.6, on_fail: warn}
    - {metric: roc_auc, versus: champion, min_absolute_change: -0.005, on_fail: block}
    - {metric: roc_auc, slice: worst, threshold: 0.5}
    - {metric: roc_auc, slice: {column: carrier, value: UA}, threshold: 0.55}
    - {metric: roc_auc, bound: lower, threshold: 1}
    - {metric: accuracy, versus: baseline, min_relative_change: 0.1}
bias:
  facets: [{column: carrier, privileged: [UA]}, {column: crew_age, above: 40}]
  intersections: [[carrier, hour]]
  group_col: hour
  pre_training: [CI, DPL]
  post_training: [DPPL, DI]
  criteria: [{metric: DPPL, within: 0.2, facet: carrier}, {metric: DI, within: 0.3}]
explain: {method: auto, background: 50, rows: 100}
inference: {entry_point: serve.py, compile: required, tolerance: {scores: 1.0e-6}}
deploy:
  strategy: {type: canary, steps: [10, 50], bake: 5m}
  rollback: {error_rate: 0.01, latency_p99_ratio: 2, min_requests: 20, disagreement: 0.1, drift: warning}
  replay: {last: 5000, min_rows: 200, max_disagreement: 0.05, max_error_rate: 0, min_metric_change: -0.01, on_fail: block}
  realtime: {min_workers: 2, timeout: {staging: 1s, production: 5s}, max_body: 1000000, linger: 2s}
  capture: {sample: 0.5, mode: buffered}
monitor:
  schedule_expression: "*/15 * * * *"
  window: 15m
  segments: [carrier]
  data_quality:
    suggest: true
    tolerance: 0.02
    extra_columns: violate
    min_rows: 60
    columns: {hour: {type: int, completeness: 0.95, min: 0, max: 22, non_negative: true}, carrier: {categories: [UA, AA]}}
  drift:
    enabled: true
    columns: [hour, carrier]
    numeric: {measure: psi, threshold: 0.2}
    prediction: {threshold: 0.2}
    overrides: {carrier: {measure: l_infinity, threshold: 0.15}}
    significance: 0.002
    correction: holm
    share: 0.3
    min_rows: 200
    multivariate: {threshold: 0.12}
  performance:
    enabled: true
    label_delay: 24h
    min_labels: 100
    estimate: true
    confidence: 0.9
    criteria: [{metric: roc_auc, threshold: 0.6}, {metric: log_loss, max_drop: 0.1}]
  bias: {metrics: [DPPL, DI], tolerance: 0.01, min_rows: 250}
  attribution: {min_ndcg: 0.92, rows: 150, window: 1d, min_rows: 260}
  alert_after: {num_windows: 4, num_violation_windows: 3}
alerts: {to: [{secret: slack_url}, "json://localhost/x"], on: [gate_failed, pipeline_failed, rollback, drift, performance]}
retrain:
  on: []
  cooldown: 24h
  min_new_labels: 500
  budget: {per_month: 20}
  after: {num_windows: 5, num_violation_windows: 2}
  freeze: [{schedule_expression: "0 0 20 12 *", length: 2w}]
  window: {type: sliding, length: 30d}
  challenge_champion: true
"""
