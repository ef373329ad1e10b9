/* embed OUT.c NAME URL=FILE...: writes a C array of struct asset with the contents of the files. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *ending;
    const char *content_type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".txt", "text/plain; charset=utf-8"},
    {".json", "application/json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
};

static const char *find_content_type(const char *file)
{
    const char *ending = strrchr(file, '.');
    for (size_t i = 0; ending && i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(ending, types[i].ending) == 0) {
            return types[i].content_type;
        }
    }
    return NULL;
}

static bool write_bytes(FILE *out, FILE *in, size_t index)
{
    size_t count = 0;
    fprintf(out, "static const unsigned char body_%zu[] = {", index);
    for (int c; (c = getc(in)) != EOF; count++) {
        fprintf(out, "%s%d,", count % 24 == 0 ? "\n" : "", c);
    }
    fprintf(out, "\n};\n");
    return count > 0 && !ferror(in);
}

static bool write_body(FILE *out, const char *pair, size_t index)
{
    const char *file = strchr(pair, '=');
    if (!file || !find_content_type(file + 1)) {
        fprintf(stderr, "embed: %s: expected URL=FILE with a known ending\n", pair);
        return false;
    }
    FILE *in = fopen(file + 1, "rb");
    if (!in) {
        fprintf(stderr, "embed: %s: %s\n", file + 1, strerror(errno));
        return false;
    }
    bool good = write_bytes(out, in, index);
    if (!good) {
        fprintf(stderr, "embed: %s: empty or unreadable\n", file + 1);
    }
    fclose(in);
    return good;
}

static void write_table(FILE *out, const char *name, char **pairs, size_t count)
{
    fprintf(out, "const struct asset %s[] = {\n", name);
    for (size_t i = 0; i < count; i++) {
        int url_len = (int)strcspn(pairs[i], "=");
        fprintf(out, "    {\"%.*s\", \"%s\", {(const char *)body_%zu, sizeof(body_%zu)}},\n",
                url_len, pairs[i], find_content_type(pairs[i]), i, i);
    }
    fprintf(out, "};\nconst size_t %s_count = %zu;\n", name, count);
}

static bool write_all(FILE *out, const char *name, char **pairs, size_t count)
{
    fprintf(out, "/* Made by tools/embed/embed.c. */\n#include \"api/assets.h\"\n");
    for (size_t i = 0; i < count; i++) {
        if (!write_body(out, pairs[i], i)) {
            return false;
        }
    }
    write_table(out, name, pairs, count);
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: embed OUT.c NAME URL=FILE...\n");
        return EXIT_FAILURE;
    }
    FILE *out = fopen(argv[1], "w");
    if (!out) {
        fprintf(stderr, "embed: %s: %s\n", argv[1], strerror(errno));
        return EXIT_FAILURE;
    }
    bool good = write_all(out, argv[2], argv + 3, (size_t)argc - 3);
    good = fclose(out) == 0 && good;
    if (!good) {
        remove(argv[1]);
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
