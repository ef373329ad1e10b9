#include "api/assets.h"

const struct asset *asset_find(struct str path)
{
    for (size_t i = 0; i < assets_embedded_count; i++) {
        if (str_equal(path, str_of(assets_embedded[i].path))) {
            return &assets_embedded[i];
        }
    }
    return NULL;
}
