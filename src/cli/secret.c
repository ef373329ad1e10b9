#include "cli/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/err.h"

/* Reads to the end, at most SECRET_MAX bytes. Returns the length or -errno. */
static ssize_t read_file(const char *path, char out[SECRET_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t len = 0;
    ssize_t got = 1;
    while (got > 0 && len < SECRET_MAX) {
        got = read(fd, out + len, SECRET_MAX - len);
        len += got > 0 ? (size_t)got : 0;
    }
    int err = got < 0 ? -errno : 0;
    close(fd);
    return err ? err : (ssize_t)len;
}

static ssize_t read_variable(const char *name, char out[SECRET_MAX])
{
    const char *value = getenv(name);
    if (!value) {
        return ERR_NOT_FOUND;
    }
    size_t len = strnlen(value, SECRET_MAX);
    memcpy(out, value, len);
    return (ssize_t)len;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Drops the blanks at the end and adds the NUL. */
static int check(char *text, size_t len)
{
    if (len == SECRET_MAX) {
        return ERR_TOO_LARGE;
    }
    while (len > 0 && is_blank(text[len - 1])) {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f) {
            return ERR_SYNTAX;
        }
    }
    text[len] = '\0';
    return len > 0 ? 0 : ERR_SYNTAX;
}

int secret_read(struct secret *out, const char *file, const char *variable)
{
    ssize_t len = file ? read_file(file, out->text) : read_variable(variable, out->text);
    int err = len < 0 ? (int)len : check(out->text, (size_t)len);
    if (err) {
        secret_wipe(out);
    }
    return err;
}

void secret_wipe(struct secret *secret)
{
    explicit_bzero(secret, sizeof(*secret));
}
