/* Between token.c and token_claims.c alone. */
#ifndef TIDEGATE_SERVER_TOKEN_PRIVATE_H
#define TIDEGATE_SERVER_TOKEN_PRIVATE_H

#include "server/token.h"

/* Reads and checks the claims in payload, whose signature is good. Unescaped texts go to scratch,
 * which has room for as many bytes as payload. Fills all of token but memory. */
enum token_refusal token_claims_read(struct token *token, struct str payload, char *scratch,
                                     const struct token_rules *rules, uint64_t now_ms);

#endif
