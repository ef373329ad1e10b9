#!/usr/bin/env bash
# push.sh USER TEXT: one push with curl, which tries again by itself on 429 and 503 and waits as Retry-After says. With an
# id of one's own that is harmless: the message is delivered once. The key comes over a pipe, since arguments are seen by
# everybody on the machine. The body is the payload, as it is: here text, not JSON.
set -euo pipefail
printf 'header = "Authorization: Bearer %s"\n' "$TIDEGATE_API_KEY" |
    curl -fsS --config - --retry 5 --max-time 10 -H "Idempotency-Key: note-$(date +%s%N)" \
        -H 'Content-Type: text/plain' --data-raw "$2" "$TIDEGATE_API/v1/users/$1/messages?type=note"
