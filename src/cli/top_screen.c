#include "cli/top_screen.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/table.h"

enum { LOOK_MS = 200 }; /* how soon another size is seen */

static void measure(unsigned *out_columns, unsigned *out_rows)
{
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
    *out_columns = known ? size.ws_col : 80;
    *out_rows = known ? size.ws_row : 24;
}

static int write_text(struct str text)
{
    struct buf out = {0};
    buf_append_str(&out, text);
    int err = output_flush(&out);
    buf_fini(&out);
    return err;
}

int top_screen_open(struct top_screen *screen)
{
    if (tcgetattr(STDIN_FILENO, &screen->before)) {
        return -errno;
    }
    struct termios raw = screen->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* stopped, or gone by a core dump, it would stay so */
    raw.c_cc[VQUIT] = _POSIX_VDISABLE;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw)) {
        return -errno;
    }
    screen->is_open = true;
    return write_text(
        STR("\x1b[?1049h\x1b[?25l\x1b[?7l")); /* the other screen, no cursor, no wrap */
}

void top_screen_close(struct top_screen *screen)
{
    if (screen->is_open) {
        write_text(STR("\x1b[?7h\x1b[?25h\x1b[?1049l"));
        tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
        screen->is_open = false;
    }
}

/* So many columns of the line; escapes take none, and are kept. */
static void append_cut(struct buf *out, struct str line, unsigned columns)
{
    unsigned width = 0;
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] == '\x1b') {
            size_t from = i;
            while (i < line.len && line.ptr[i] != 'm') {
                i++;
            }
            buf_append_str(out, str_make(line.ptr + from, i < line.len ? i - from + 1 : i - from));
            continue;
        }
        size_t bytes;
        width += table_char_width(str_make(line.ptr + i, line.len - i), &bytes);
        if (width <= columns) {
            buf_append_str(out, str_make(line.ptr + i, bytes));
        }
        i += bytes - 1;
    }
}

int top_screen_draw(struct top_screen *screen, struct str lines, struct str footer)
{
    struct buf out = {0};
    struct str line;
    measure(&screen->columns, &screen->rows);
    buf_append_str(&out, STR("\x1b[H"));
    for (unsigned row = 1; row < screen->rows && lines.len > 0 && str_split(&lines, '\n', &line);
         row++) {
        append_cut(&out, line, screen->columns);
        buf_append_str(&out, STR("\x1b[0m\x1b[K\n"));
    }
    buf_append_str(&out, STR("\x1b[J"));
    buf_printf(&out, "\x1b[%u;1H\x1b[2m", screen->rows);
    append_cut(&out, footer, screen->columns);
    buf_append_str(&out, STR("\x1b[0m"));
    int err = output_flush(&out);
    buf_fini(&out);
    return err;
}

static bool has_other_size(const struct top_screen *screen)
{
    unsigned columns, rows;
    measure(&columns, &rows);
    return columns != screen->columns || rows != screen->rows;
}

int top_screen_key(struct top_screen *screen, uint64_t deadline_ms)
{
    for (;;) {
        struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
        uint64_t now_ms = clock_monotonic_ms();
        uint64_t until_ms = now_ms + LOOK_MS < deadline_ms ? now_ms + LOOK_MS : deadline_ms;
        int ready = interrupt_poll(&keys, 1, until_ms);
        char key;
        if (ready < 0) {
            return ready;
        }
        if (ready > 0) {
            return read(STDIN_FILENO, &key, 1) == 1 ? (unsigned char)key : ERR_CLOSED;
        }
        if (clock_monotonic_ms() >= deadline_ms || has_other_size(screen)) {
            return 0;
        }
    }
}
