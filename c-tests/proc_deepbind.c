/* Libraries opened with RTLD_DEEPBIND get PGM sockets as well, and libraries still find their own. */
#include "check.h"
#include <dlfcn.h>
#include <sys/stat.h>

static char directory[] = "/tmp/pgm-deepbind.XXXXXX", command[4096];

/* DIRECTORY/sub/lib*.so: `outer` opens `inner` by its bare name, which only its own RUNPATH finds. */
static const char inner[] =
    "#include <sys/socket.h>\n"
    "#include <string.h>\n"
    "int talk(int tx, int rx) {\n"
    "    char buffer[8]; int type = 0; socklen_t len = sizeof(type);\n"
    "    if (send(tx, \"message\", 7, 0) != 7) return 1;\n"
    "    int fd = accept(rx, 0, 0);\n"
    "    if (fd < 0 || recv(fd, buffer, 4, 0) != 4 || recv(fd, buffer + 4, 4, 0) != 3) return 2;\n"
    "    if (memcmp(buffer, \"message\", 7) != 0) return 3;\n"
    "    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_RDM) return 4;\n"
    "    return 0;\n"
    "}\n";
static const char outer[] =
    "#include <dlfcn.h>\n"
    "void *open_inner(void) { return dlopen(\"libpgm_inner.so\", 2 | 8); }\n";

static void build(const char *name, const char *text, const char *flags)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/sub/%s.c", directory, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
    snprintf(command, sizeof(command), "cc -shared -fPIC -D_GNU_SOURCE -o %s/sub/libpgm_%s.so %s %s",
             directory, name, path, flags);
    if (system(command) != 0)
        SKIP("no compiler");
}

int main(void)
{
    char path[200];

    begin(60);
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, sizeof(path), "%s/sub", directory);
    OK(mkdir(path, 0700));
    build("inner", inner, "");
    build("outer", outer, "-Wl,-rpath,'$ORIGIN',--enable-new-dtags");
    snprintf(path, sizeof(path), "%s/sub/libpgm_outer.so", directory);
    void *library = dlopen(path, RTLD_NOW | RTLD_DEEPBIND);
    if (library == NULL)
        FAIL("%s", dlerror());
    void *(*open_inner)(void) = (void *(*)(void))dlsym(library, "open_inner");
    void *second = open_inner();
    if (second == NULL)
        FAIL("%s", dlerror());
    int (*talk)(int, int) = (int (*)(int, int))dlsym(second, "talk");
    int rx = listener(0), tx = sender(0);
    EQUAL(talk(tx, rx), 0);
    CHECK(dlopen("libpgm_inner.so.none", RTLD_NOW) == NULL && dlerror() != NULL);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    EQUAL(system(command), 0);
    return 0;
}
