#include "cli/output.h"

#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "cli/args.h"
#include "cli/exit_code.h"

void output_append_line(struct buf *out, struct str text)
{
    size_t from = out->len;
    buf_append_str(out, text);
    for (size_t i = from; i < out->len; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r') {
            out->data[i] = ' ';
        }
    }
    buf_append_char(out, '\n');
}

int output_flush(struct buf *out)
{
    int err = buf_err(out);
    if (!err && out->len > 0 &&
        (fwrite(out->data, 1, out->len, stdout) != out->len || fflush(stdout) != 0)) {
        err = errno ? -errno : -EIO;
    }
    buf_clear(out);
    return err;
}

int output_end(struct buf *out, const char *verb)
{
    int err = output_flush(out);
    buf_fini(out);
    if (err) {
        args_complain(verb, "can't write to standard output: %s", err_str(err));
        return EXIT_CODE_INTERNAL;
    }
    return EXIT_CODE_OK;
}
