/* Whatever another node sends: what is read can be written, and reads the same. */
#include <stdlib.h>
#include <string.h>

#include "api/overview_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct overview_part part, back;
    struct str text = str_make((const char *)data, size);
    memset(&part, 0, sizeof(part));
    memset(&back, 0, sizeof(back));
    if (!overview_part_read(&part, &text)) {
        return 0;
    }
    struct buf out = {0};
    struct buf written_again = {0};
    if (overview_part_write(&out, &part) == 0) {
        struct str again = buf_str(&out);
        if (!overview_part_read(&back, &again) || again.len != 0 ||
            overview_part_write(&written_again, &back) != 0 ||
            !str_equal(buf_str(&out), buf_str(&written_again))) {
            abort();
        }
    }
    buf_fini(&written_again);
    buf_fini(&out);
    return 0;
}
