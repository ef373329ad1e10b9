#!/usr/bin/env bash
# push.sh USER TEXT: one push with curl, which tries again by itself on 429 and 503 and waits as Retry-After says. With an
# id of one's own that is harmless: the message is delivered once. The key comes over a pipe, since arguments are seen by
# everybody on the machine. The body is the payload, as it is: here text, not JSON.
set -euo pipefail

# Every byte but letters, digits and -._~ as %XX (RFC 3986, section 2.1): a user's name is anything.
percent() {
    printf %s "$1" | od -An -v -tx1 | tr ' ' '\n' | while read -r byte; do
        case $byte in
        '') ;;
        2d | 2e | 3[0-9] | 4[1-9a-f] | 5[0-9af] | 6[1-9a-f] | 7[0-9ae]) printf '%b' "\\x$byte" ;;
        *) printf '%%%s' "${byte^^}" ;;
        esac
    done
}

id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' ')
printf 'header = "Authorization: Bearer %s"\n' "$TIDEGATE_API_KEY" |
    curl -fsS --config - --retry 5 --max-time 10 -H "Idempotency-Key: $id" \
        -H 'Content-Type: text/plain' --data-raw "$2" "$TIDEGATE_API/v1/users/$(percent "$1")/messages?type=note"
