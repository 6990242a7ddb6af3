#!/usr/bin/env bash
# Make the queue and its dead-letter queue on LocalStack, and print the queue's URL.
# Running it again changes nothing. Usage: ./setup-localstack.sh [NAME]
set -euo pipefail
cd "$(dirname "$0")"

# Set here, so that nothing is ever made in an AWS account that the environment happens to name.
export AWS_ENDPOINT_URL="${LOCALSTACK_URL:-http://127.0.0.1:4566}"
export AWS_REGION="${AWS_REGION:-us-east-1}"
export AWS_ACCESS_KEY_ID=test
export AWS_SECRET_ACCESS_KEY=test
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL_SQS

wait_seconds=60
health="$AWS_ENDPOINT_URL/_localstack/health"

prover=.venv/bin/prover
if [ ! -x "$prover" ]; then
  prover=$(command -v prover) || {
    echo 'The prover command is missing: run "make demo", or activate its environment.' >&2
    exit 1
  }
fi

deadline=$((SECONDS + wait_seconds))
until curl --fail --silent --max-time 5 "$health" \
  | grep --quiet --extended-regexp '"sqs": *"(available|running)"'; do
  if [ "$SECONDS" -ge "$deadline" ]; then
    echo "LocalStack is not ready at $AWS_ENDPOINT_URL after $wait_seconds s:" >&2
    echo 'see "docker compose -f docker-compose.sqs.yml logs localstack".' >&2
    exit 1
  fi
  sleep 1
done

exec "$prover" queue create "${1:-prover-jobs}"
