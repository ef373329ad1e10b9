/* Runs a fuzz target over the files of a corpus, once each, without libFuzzer:
 *   proto_http_request_fuzz tests/fuzz/proto.http_request
 * An empty or missing corpus is an error, so that a renamed folder is noticed. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return -1;
    }
    struct stat info;
    uint8_t *data = NULL;
    size_t size = 0;
    if (fstat(fileno(file), &info) == 0 && S_ISREG(info.st_mode)) {
        size = (size_t)info.st_size;
        data = malloc(size ? size : 1);
        size = data ? fread(data, 1, size, file) : 0;
    }
    fclose(file);
    if (!data) {
        return 0;
    }
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        perror(folder);
        return -1;
    }
    int files = 0;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char path[4096];
        if (snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < (int)sizeof(path)) {
            int ran = replay_file(path);
            files += ran > 0 ? ran : 0;
        }
    }
    closedir(dir);
    return files;
}

int main(int argc, char **argv)
{
    int files = 0;
    for (int i = 1; i < argc; i++) {
        int ran = replay_folder(argv[i]);
        if (ran < 0) {
            return 1;
        }
        files += ran;
    }
    printf("%d inputs replayed\n", files);
    return files > 0 ? 0 : 1;
}
