#!/bin/sh
# One run of the leavers job for a benchmark harness that compares programs: takes what to do from BENCH_* variables
# (the input, the receiver's address, the ids, where rejects go) and the program's path as its argument.
set -eu
cat >"$BENCH_OUT/pipeline.yaml" <<YAML
sources:
  export: {type: file, path: "$BENCH_INPUT"}
transforms:
  leavers:
    type: hr_schema
    inputs: [export]
    scenario: employee_resignation
    where: status = 'Terminated'
    dates: {formats: ["%m/%d/%Y"], iso8601: false, timezone: America/New_York}
    fields:
      EmailAddress: lower(work_email)
      ResignationDate: resign_date
      LastWorkingDate: last_day
sinks:
  job:
    type: m365_hr
    inputs: [leavers]
    cloud: {authority: "$BENCH_URL", resource: "$BENCH_RESOURCE", ingestion: "$BENCH_URL"}
    tenant_id: contoso.com
    job_id: $BENCH_JOBID
    auth: {type: client_secret, client_id: $BENCH_CLIENT_ID, client_secret: {env: BENCH_CLIENT_SECRET}}
YAML
exec "$1" run "$BENCH_OUT/pipeline.yaml" --rejects "$BENCH_REJECTS"
