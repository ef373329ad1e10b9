/* Why an HTTP request (or WebSocket handshake) is refused: one value a reason, so that a counter, a
 * log line and a problem body name it alike. Pure; static storage. */
#ifndef TIDEGATE_PROTO_HTTP_REFUSAL_H
#define TIDEGATE_PROTO_HTTP_REFUSAL_H

/* After any of these the connection is closed: what follows on it can't be trusted. */
enum http_refusal {
    HTTP_REFUSED_NOT, /* not refused */
    HTTP_REFUSED_EMPTY_LINES,
    HTTP_REFUSED_BAD_METHOD,
    HTTP_REFUSED_METHOD_TOO_LONG,
    HTTP_REFUSED_CONNECT,
    HTTP_REFUSED_BAD_TARGET,
    HTTP_REFUSED_URI_TOO_LONG,
    HTTP_REFUSED_BAD_VERSION,
    HTTP_REFUSED_VERSION_UNSUPPORTED,
    HTTP_REFUSED_HEAD_TOO_LARGE,
    HTTP_REFUSED_HEADER_LINE_TOO_LONG,
    HTTP_REFUSED_TOO_MANY_HEADERS,
    HTTP_REFUSED_BARE_LF,
    HTTP_REFUSED_BARE_CR,
    HTTP_REFUSED_OBS_FOLD,
    HTTP_REFUSED_BAD_HEADER_NAME,
    HTTP_REFUSED_SPACE_BEFORE_COLON,
    HTTP_REFUSED_BAD_HEADER_VALUE,
    HTTP_REFUSED_HOST_MISSING,
    HTTP_REFUSED_HOST_REPEATED,
    HTTP_REFUSED_BAD_HOST,
    HTTP_REFUSED_BAD_CONTENT_LENGTH,
    HTTP_REFUSED_CONTENT_LENGTH_REPEATED,
    HTTP_REFUSED_LENGTH_AND_ENCODING,
    HTTP_REFUSED_TRANSFER_ENCODING,
    HTTP_REFUSED_ENCODING_IN_HTTP_1_0,
    HTTP_REFUSED_BAD_CHUNK,
    HTTP_REFUSED_BODY_TOO_LARGE,
    HTTP_REFUSED_WS_METHOD,
    HTTP_REFUSED_WS_UPGRADE,
    HTTP_REFUSED_WS_VERSION,
    HTTP_REFUSED_WS_KEY,
    HTTP_REFUSED_WS_PROTOCOL,
    HTTP_REFUSED_WS_BODY,
    HTTP_REFUSALS, /* how many there are */
};

/* The status to answer: 400, 405, 413, 414, 426, 431, 501 or 505; 0 for HTTP_REFUSED_NOT. */
int http_refusal_status(enum http_refusal refusal);

/* A stable name in snake case: "bare_lf". For labels and for the code of a problem body. */
const char *http_refusal_slug(enum http_refusal refusal);

/* One English sentence without a full stop, which quotes nothing of the peer's. */
const char *http_refusal_detail(enum http_refusal refusal);

/* ERR_PROTOCOL, ERR_TOO_LARGE or ERR_UNSUPPORTED; 0 for HTTP_REFUSED_NOT. */
int http_refusal_err(enum http_refusal refusal);

#endif
