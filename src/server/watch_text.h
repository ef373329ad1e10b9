/* What a person who watches a session may see of a frame's text: in frames of the client protocol
 * the members that hold a secret (`token`, `claim`, `grant`, `grants`, `ticket`) are replaced,
 * found by their unescaped names in the frame's own object; `data` and `attrs` are the
 * application's and stay. A text that is no frame could hold anything, and is not shown. Pure. */
#ifndef TIDEGATE_SERVER_WATCH_TEXT_H
#define TIDEGATE_SERVER_WATCH_TEXT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

/* In place of a secret: a JSON string. */
#define WATCH_HIDDEN "\"\xe2\x80\xa6\""

/* Appends the frame (or the list of frames) with its secrets replaced, without white space between
 * members. False: it is none, or deeper than max_depth; nothing is appended. */
bool watch_text_redact(struct buf *out, struct str text, unsigned max_depth, bool *out_has_secret);

/* The first max bytes at most, cut between two characters. */
struct str watch_text_cut(struct str text, size_t max);

#endif
