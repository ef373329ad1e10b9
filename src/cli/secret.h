/* Keys and tokens of the caller: from a file or an environment variable, never from argv. */
#ifndef TIDEGATE_CLI_SECRET_H
#define TIDEGATE_CLI_SECRET_H

#include <stddef.h>

enum { SECRET_MAX = 8 * 1024 }; /* bytes, with the NUL */

struct secret {
    char text[SECRET_MAX]; /* visible ASCII, so it may stand in a header line; "" when there is none
                            */
};

/* Reads the file when one is named, else the environment variable; blanks and line breaks at the
 * end are dropped. 0; ERR_NOT_FOUND when neither is there; ERR_SYNTAX for an empty one or one with
 * other characters in it; ERR_TOO_LARGE; or -errno of the file. out is empty after a failure. */
int secret_read(struct secret *out, const char *file, const char *variable);

void secret_wipe(struct secret *secret);

#endif
