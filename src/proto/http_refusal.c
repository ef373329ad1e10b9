#include "proto/http_refusal.h"

#include <stddef.h>

#include "base/err.h"

static const struct {
    int status;
    const char *slug;
    const char *detail;
} REASONS[HTTP_REFUSALS] = {
    [HTTP_REFUSED_NOT] = {0, "none", "not refused"},
    [HTTP_REFUSED_EMPTY_LINES] = {400, "empty_lines",
                                  "more than one empty line before the request"},
    [HTTP_REFUSED_BAD_METHOD] = {400, "bad_method",
                                 "the request line does not start with a method"},
    [HTTP_REFUSED_METHOD_TOO_LONG] = {501, "method_too_long", "no method has such a long name"},
    [HTTP_REFUSED_CONNECT] = {405, "connect", "CONNECT is for proxies, and this is not one"},
    [HTTP_REFUSED_BAD_TARGET] = {400, "bad_target", "the request target is not well formed"},
    [HTTP_REFUSED_URI_TOO_LONG] = {414, "uri_too_long", "the request target is over the limit"},
    [HTTP_REFUSED_BAD_VERSION] = {400, "bad_version", "the request line does not end in a version"},
    [HTTP_REFUSED_VERSION_UNSUPPORTED] = {505, "version_unsupported",
                                          "only HTTP/1.1 and HTTP/1.0 are spoken here"},
    [HTTP_REFUSED_HEAD_TOO_LARGE] = {431, "head_too_large",
                                     "request line and headers together are over the limit"},
    [HTTP_REFUSED_HEADER_LINE_TOO_LONG] = {431, "header_line_too_long",
                                           "a header line is over the limit"},
    [HTTP_REFUSED_TOO_MANY_HEADERS] = {431, "too_many_headers", "too many header lines"},
    [HTTP_REFUSED_BARE_LF] = {400, "bare_lf", "a line ends in LF without CR"},
    [HTTP_REFUSED_BARE_CR] = {400, "bare_cr", "CR without LF"},
    [HTTP_REFUSED_OBS_FOLD] = {400, "obs_fold", "a header line is folded"},
    [HTTP_REFUSED_BAD_HEADER_NAME] = {400, "bad_header_name", "a header name is not a token"},
    [HTTP_REFUSED_SPACE_BEFORE_COLON] = {400, "space_before_colon",
                                         "white space between a header name and its colon"},
    [HTTP_REFUSED_BAD_HEADER_VALUE] = {400, "bad_header_value",
                                       "a header value has a control byte in it"},
    [HTTP_REFUSED_HOST_MISSING] = {400, "host_missing", "HTTP/1.1 needs a Host header"},
    [HTTP_REFUSED_HOST_REPEATED] = {400, "host_repeated", "more than one Host header"},
    [HTTP_REFUSED_BAD_HOST] = {400, "bad_host", "the host is not well formed"},
    [HTTP_REFUSED_BAD_CONTENT_LENGTH] = {400, "bad_content_length",
                                         "Content-Length is not a decimal number in range"},
    [HTTP_REFUSED_CONTENT_LENGTH_REPEATED] = {400, "content_length_repeated",
                                              "more than one Content-Length header"},
    [HTTP_REFUSED_LENGTH_AND_ENCODING] = {400, "length_and_encoding",
                                          "both Content-Length and Transfer-Encoding"},
    [HTTP_REFUSED_TRANSFER_ENCODING] = {501, "transfer_encoding",
                                        "the only Transfer-Encoding understood is chunked, once"},
    [HTTP_REFUSED_ENCODING_IN_HTTP_1_0] = {400, "encoding_in_http_1_0",
                                           "Transfer-Encoding in an HTTP/1.0 request"},
    [HTTP_REFUSED_BAD_CHUNK] = {400, "bad_chunk", "the chunked body is not well formed"},
    [HTTP_REFUSED_BODY_TOO_LARGE] = {413, "body_too_large", "the body is over the limit"},
    [HTTP_REFUSED_WS_METHOD] = {405, "ws_method", "a WebSocket is opened by GET"},
    [HTTP_REFUSED_WS_UPGRADE] = {426, "ws_upgrade", "this address speaks WebSocket only"},
    [HTTP_REFUSED_WS_VERSION] = {426, "ws_version", "the only Sec-WebSocket-Version is 13"},
    [HTTP_REFUSED_WS_KEY] = {400, "ws_key",
                             "Sec-WebSocket-Key must be given once, base64 of 16 bytes"},
    [HTTP_REFUSED_WS_PROTOCOL] = {400, "ws_protocol",
                                  "Sec-WebSocket-Protocol is not a list of tokens"},
    [HTTP_REFUSED_WS_BODY] = {400, "ws_body", "a WebSocket handshake has no body"},
};

int http_refusal_status(enum http_refusal refusal)
{
    return REASONS[refusal].status;
}

const char *http_refusal_slug(enum http_refusal refusal)
{
    return REASONS[refusal].slug;
}

const char *http_refusal_detail(enum http_refusal refusal)
{
    return REASONS[refusal].detail;
}

int http_refusal_err(enum http_refusal refusal)
{
    switch (REASONS[refusal].status) {
    case 0: return 0;
    case 413:
    case 414:
    case 431: return ERR_TOO_LARGE;
    case 501:
    case 505: return ERR_UNSUPPORTED;
    default: return ERR_PROTOCOL;
    }
}
