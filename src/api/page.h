/* Pages that the binary carries (api/assets.h), and what goes with their answers: headers that keep
 * other sites out and let nothing run or load that is not the page's own. Any thread. */
#ifndef TIDEGATE_API_PAGE_H
#define TIDEGATE_API_PAGE_H

#include "api/assets.h"
#include "server/http_conn.h"

enum { PAGE_GUARDS = 4, PAGE_HEADERS_MAX = 12 };

/* Of every answer to a page or its scripts: no foreign content, no inline script or style, no text
 * that becomes markup, no frame around it, nothing for other origins. */
extern const struct http_pair page_guards[PAGE_GUARDS];

/* Answers with the guards and "Cache-Control: no-store": what is asked for by a page. headers:
 * further ones, up to PAGE_HEADERS_MAX - PAGE_GUARDS - 1. */
void page_answer(struct http_exchange *exchange, int status, const char *content_type,
                 struct str body, const struct http_pair *headers, size_t count);

/* Answers GET and HEAD of a path under folder ("/demo"), inside on_request: the file that is
 * embedded under exactly that path, compressed for who takes it, 304 for who has it; the folder
 * without its slash leads to it. Nothing else exists, so there is nothing to traverse. Other
 * methods get 405, other paths 404. */
void page_serve(struct http_exchange *exchange, const char *folder);

/* 405. */
void page_refuse_method(struct http_exchange *exchange, const char *allow);

#endif
