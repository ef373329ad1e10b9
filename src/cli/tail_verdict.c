#include "cli/tail_verdict.h"

#include <stddef.h>

#include "base/err.h"
#include "cli/exit_code.h"

struct row {
    int from, to;
    struct tail_verdict verdict;
};

static const struct row closes[] = {
    {1000, 1000, {TAIL_STOP, EXIT_CODE_OK, "the gateway ended the session"}},
    {1001, 1001, {TAIL_RETRY, EXIT_CODE_CONNECT, "the gateway is going away"}},
    {1002,
     1003,
     {TAIL_STOP, EXIT_CODE_PROTOCOL,
      "the gateway says we broke the protocol; are its and our versions alike?"}},
    {1005, 1006, {TAIL_RETRY, EXIT_CODE_CONNECT, "the connection was closed without a reason"}},
    {1007,
     1010,
     {TAIL_STOP, EXIT_CODE_REFUSED, "the gateway refused what was sent; its log says more"}},
    {1011, 1014, {TAIL_RETRY, EXIT_CODE_UNAVAILABLE, "the gateway has a passing trouble"}},
    {4000,
     4000,
     {TAIL_STOP, EXIT_CODE_REFUSED,
      "the session was kicked; connect again if that was not meant for you"}},
    {4001, 4001, {TAIL_STOP, EXIT_CODE_REFUSED, "a newer connection took this session's place"}},
    {4002,
     4002,
     {TAIL_STOP, EXIT_CODE_PROTOCOL,
      "the gateway could not read a frame; are its and our versions alike?"}},
    {4003,
     4003,
     {TAIL_STOP, EXIT_CODE_REFUSED, "forbidden; check --app, --group and what the token allows"}},
    {4004,
     4004,
     {TAIL_NEW_TOKEN, EXIT_CODE_REFUSED,
      "the token is not valid; set TIDEGATE_TOKEN or --token-file to a good one"}},
    {4005, 4005, {TAIL_STOP, EXIT_CODE_REFUSED, "too many sessions; close another one first"}},
    {4006, 4006, {TAIL_STOP, EXIT_CODE_REFUSED, "the ticket is used up; ask for a new one"}},
    {4007,
     4099,
     {TAIL_STOP, EXIT_CODE_REFUSED, "the gateway refused the session; its log says more"}},
    {4100, 4199, {TAIL_RETRY, EXIT_CODE_UNAVAILABLE, "the gateway asks to come back later"}},
    {4200, 4299, {TAIL_RETRY_NOW, EXIT_CODE_CONNECT, "the gateway asks to reconnect"}},
    {4300,
     4399,
     {TAIL_NEW_TOKEN, EXIT_CODE_REFUSED,
      "the token is expired or revoked; set TIDEGATE_TOKEN or --token-file to a new one"}},
};

static const struct row statuses[] = {
    {400,
     400,
     {TAIL_STOP, EXIT_CODE_REFUSED, "the gateway refused the request; check --url and --app"}},
    {401,
     401,
     {TAIL_NEW_TOKEN, EXIT_CODE_REFUSED,
      "a token is needed or this one is not valid; set TIDEGATE_TOKEN or --token-file"}},
    {403, 403, {TAIL_STOP, EXIT_CODE_REFUSED, "forbidden; check --app and what the token allows"}},
    {404,
     404,
     {TAIL_STOP, EXIT_CODE_REFUSED,
      "nothing there; --url is the client listener, by default ws://127.0.0.1:8080/v1/ws, and --app one of its apps"}},
    {429, 429, {TAIL_RETRY, EXIT_CODE_UNAVAILABLE, "too many connects; come back later"}},
    {400, 499, {TAIL_STOP, EXIT_CODE_REFUSED, "the gateway refused the connection; check --url"}},
    {500,
     599,
     {TAIL_RETRY, EXIT_CODE_UNAVAILABLE, "the gateway can't take sessions now; come back later"}},
};

static struct tail_verdict find(const struct row *rows, size_t count, int value)
{
    for (size_t i = 0; i < count; i++) {
        if (value >= rows[i].from && value <= rows[i].to) {
            return rows[i].verdict;
        }
    }
    return (struct tail_verdict){TAIL_STOP, EXIT_CODE_PROTOCOL,
                                 "the answer is not tidegate's; check --url"};
}

struct tail_verdict tail_judge_close(uint16_t code)
{
    return find(closes, sizeof(closes) / sizeof(closes[0]), code);
}

struct tail_verdict tail_judge_status(int status)
{
    return find(statuses, sizeof(statuses) / sizeof(statuses[0]), status);
}

struct tail_verdict tail_judge_error(int err)
{
    switch (err) {
    case ERR_TIMEOUT:
        return (struct tail_verdict){TAIL_RETRY, EXIT_CODE_TIMEOUT, "the gateway fell silent"};
    case ERR_NO_MEMORY:
        return (struct tail_verdict){TAIL_STOP, EXIT_CODE_INTERNAL, "memory is out; try again"};
    case ERR_PROTOCOL:
    case ERR_UTF8:
    case ERR_SYNTAX:
    case ERR_TOO_LARGE:
    case ERR_UNSUPPORTED:
        return (struct tail_verdict){
            TAIL_STOP, EXIT_CODE_PROTOCOL,
            "what came is not tidegate's protocol; --url is the client listener, by default "
            "ws://127.0.0.1:8080/v1/ws"};
    default: return (struct tail_verdict){TAIL_RETRY, EXIT_CODE_CONNECT, "the connection was lost"};
    }
}
