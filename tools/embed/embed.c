/* embed OUT.c NAME URL=FILE...: writes a C array of struct asset with the contents of the files,
 * as they are and compressed. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

static const struct {
    const char *ending;
    const char *content_type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".txt", "text/plain; charset=utf-8"},
    {".md",
     "text/plain; charset=utf-8"}, /* browsers show it, where they would save text/markdown */
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

/* A file while it is being written. */
struct asset_file {
    unsigned char *bytes, *gzip;
    size_t len, gzip_len; /* gzip_len 0: it would save nothing */
    unsigned long long hash;
};

static bool read_file(struct asset_file *file, FILE *in)
{
    size_t cap = 0;
    for (size_t got = 1; got > 0; file->len += got) {
        if (cap - file->len < 65536) {
            cap += 1 << 20;
            file->bytes = realloc(file->bytes, cap);
            if (!file->bytes) {
                return false;
            }
        }
        got = fread(file->bytes + file->len, 1, cap - file->len, in);
    }
    return file->len > 0 && !ferror(in);
}

/* FNV-1a: tells two versions of a file apart, and nothing else is asked of an ETag. */
static unsigned long long hash(const unsigned char *bytes, size_t len)
{
    unsigned long long sum = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ bytes[i]) * 0x100000001b3u;
    }
    return sum;
}

/* With a header of gzip that holds neither a time nor a name: the same bytes in every build. */
static bool compress_file(struct asset_file *file)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return false;
    }
    size_t cap = deflateBound(&stream, file->len);
    file->gzip = malloc(cap);
    stream.next_in = file->bytes;
    stream.avail_in = (unsigned)file->len;
    stream.next_out = file->gzip;
    stream.avail_out = (unsigned)cap;
    bool good = file->gzip && deflate(&stream, Z_FINISH) == Z_STREAM_END;
    file->gzip_len = good && stream.total_out < file->len * 9 / 10 ? stream.total_out : 0;
    deflateEnd(&stream);
    return good;
}

static void write_bytes(FILE *out, const char *kind, size_t index, const unsigned char *bytes,
                        size_t len)
{
    fprintf(out, "static const unsigned char %s_%zu[] = {", kind, index);
    for (size_t i = 0; i < len; i++) {
        fprintf(out, "%s%d,", i % 24 == 0 ? "\n" : "", bytes[i]);
    }
    fprintf(out, "%s\n};\n", len ? "" : "0");
}

static bool load(struct asset_file *file, const char *pair)
{
    const char *name = strchr(pair, '=');
    if (!name || !find_content_type(name + 1)) {
        fprintf(stderr, "embed: %s: expected URL=FILE with a known ending\n", pair);
        return false;
    }
    FILE *in = fopen(name + 1, "rb");
    if (!in) {
        fprintf(stderr, "embed: %s: %s\n", name + 1, strerror(errno));
        return false;
    }
    bool good = read_file(file, in) && compress_file(file);
    if (!good) {
        fprintf(stderr, "embed: %s: empty or unreadable\n", name + 1);
    }
    fclose(in);
    return good;
}

static void write_row(FILE *out, const char *pair, size_t index, const struct asset_file *file)
{
    fprintf(out,
            "    {\"%.*s\", \"%s\", {(const char *)body_%zu, %zu}, "
            "{(const char *)gzip_%zu, %zu}, \"\\\"%016llx\\\"\"},\n",
            (int)strcspn(pair, "="), pair, find_content_type(pair), index, file->len, index,
            file->gzip_len, file->hash);
}

static bool write_body(FILE *out, FILE *table, const char *pair, size_t index)
{
    struct asset_file file = {0};
    bool good = load(&file, pair);
    if (good) {
        file.hash = hash(file.bytes, file.len);
        write_bytes(out, "body", index, file.bytes, file.len);
        write_bytes(out, "gzip", index, file.gzip, file.gzip_len);
        write_row(table, pair, index, &file);
    }
    free(file.bytes);
    free(file.gzip);
    return good;
}

static bool write_files(FILE *out, FILE *table, char **pairs, size_t count)
{
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        good = write_body(out, table, pairs[i], i);
    }
    return good;
}

static bool write_all(FILE *out, const char *name, char **pairs, size_t count)
{
    char *rows = NULL;
    size_t len = 0;
    FILE *table = open_memstream(&rows, &len);
    fprintf(out, "/* Made by tools/embed/embed.c. */\n#include \"api/assets.h\"\n");
    bool good = table && write_files(out, table, pairs, count);
    good = table && fclose(table) == 0 && good;
    if (good) {
        fprintf(out, "const struct asset %s[] = {\n%s};\nconst size_t %s_count = %zu;\n", name,
                rows, name, count);
    }
    free(rows);
    return good;
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
