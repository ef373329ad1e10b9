#include "api/assets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <jansson.h>

static void every_asset_is_found_under_its_path(void **state)
{
    assert_true(assets_embedded_count > 0);
    for (size_t i = 0; i < assets_embedded_count; i++) {
        const struct asset *asset = &assets_embedded[i];
        assert_int_equal(asset->path[0], '/');
        assert_ptr_equal(asset_find(str_of(asset->path)), asset);
        assert_true(asset->body.len > 0);
        assert_non_null(asset->content_type);
    }
}

static void other_paths_have_no_asset(void **state)
{
    const char *paths[] = {
        "", "/", "/v1/openapi.jso", "/v1/openapi.json/", "v1/openapi.json", "/V1/openapi.json"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_null(asset_find(str_of(paths[i])));
    }
}

static void the_description_of_the_api_is_json(void **state)
{
    const struct asset *asset = asset_find(STR("/v1/openapi.json"));
    assert_non_null(asset);
    assert_string_equal(asset->content_type, "application/json");
    json_t *root = json_loadb(asset->body.ptr, asset->body.len, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "openapi")), "3.1.0");
    assert_non_null(json_object_get(json_object_get(root, "paths"), "/v1/messages"));
    json_decref(root);
}

static void a_runbook_is_shown_as_text(void **state)
{
    const struct asset *asset = asset_find(STR("/console/runbooks/bus-down.md"));
    assert_non_null(asset);
    assert_string_equal(asset->content_type, "text/plain; charset=utf-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_asset_is_found_under_its_path),
        cmocka_unit_test(other_paths_have_no_asset),
        cmocka_unit_test(a_runbook_is_shown_as_text),
        cmocka_unit_test(the_description_of_the_api_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
