/* The whole terminal, for one who draws again and again: keys come at once and unseen, what was
 * there before comes back at the end. The main thread alone; one at a time. */
#ifndef TIDEGATE_CLI_TOP_SCREEN_H
#define TIDEGATE_CLI_TOP_SCREEN_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "base/buf.h"

struct top_screen {
    struct termios before;
    bool is_open;
    unsigned columns, rows; /* as it was drawn last */
};

/* stdin and stdout are terminals. 0 or -errno. After interrupt_watch, so that no signal ends the
 * process with the terminal as it is. */
int top_screen_open(struct top_screen *screen);
void top_screen_close(struct top_screen *screen); /* not open: no effect */

/* Draws the lines, cut to what there is room for, and the footer on the last one. 0 or -errno. */
int top_screen_draw(struct top_screen *screen, struct str lines, struct str footer);

/* Waits for a key until the deadline (of clock_monotonic_ms()). Returns it; 0: none came, or the
 * terminal has another size now; ERR_CANCELED once interrupted; ERR_CLOSED when the terminal is
 * gone. */
int top_screen_key(struct top_screen *screen, uint64_t deadline_ms);

#endif
