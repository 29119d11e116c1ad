/* Constructors and destructors of other libraries use PGM sockets, whichever library is loaded first. */
#include "check.h"
#include <sys/stat.h>

static char directory[] = "/tmp/pgm-constructors.XXXXXX", self[4096], text[9000], paths[2][200];

/* Sends from its constructor, from its destructor, and on the same socket from both. */
static const char library[] =
    "#define _GNU_SOURCE\n"
    "#include <arpa/inet.h>\n"
    "#include <netinet/in.h>\n"
    "#include <stdlib.h>\n"
    "#include <unistd.h>\n"
    "static int tx;\n"
    "static int open_it(void) {\n"
    "    struct sockaddr_in a = {AF_INET, htons(atoi(getenv(\"CHECK_PORT\"))), {0}};\n"
    "    a.sin_addr.s_addr = inet_addr(getenv(\"CHECK_GROUP\"));\n"
    "    int fd = socket(AF_INET, SOCK_RDM, atoi(getenv(\"CHECK_PROTO\")));\n"
    "    if (fd < 0 || connect(fd, (void *)&a, sizeof(a)) != 0) abort();\n"
    "    return fd;\n"
    "}\n"
    "__attribute__((constructor)) static void begin(void) {\n"
    "    char c;\n"
    "    int ends[2];\n"
    "    if (pipe(ends) || write(ends[1], \"x\", 1) != 1 || read(ends[0], &c, 1) != 1) abort();\n"
    "    close(ends[0]), close(ends[1]);\n"
    "    tx = open_it();\n"
    "    if (send(tx, \"constructor\", 11, 0) != 11) abort();\n"
    "}\n"
    "__attribute__((destructor)) static void end(void) {\n"
    "    if (send(tx, \"destructor\", 10, MSG_NOSIGNAL) != 10) abort();\n"
    "}\n";

int main(int argc, char **argv)
{
    char buffer[64];

    (void)argv;
    if (argc > 1)
        return 0;
    begin(60);
    ssize_t n = OK(readlink("/proc/self/exe", self, sizeof(self) - 1));
    self[n] = 0;
    CHECK(getenv("CHECK_PORT") != NULL && getenv("LD_PRELOAD") != NULL);
    CHECK(mkdtemp(directory) != NULL);
    snprintf(paths[0], sizeof(paths[0]), "%s/library.c", directory);
    snprintf(paths[1], sizeof(paths[1]), "%s/library.so", directory);
    FILE *file = fopen(paths[0], "w");
    CHECK(file != NULL && fputs(library, file) >= 0 && fclose(file) == 0);
    snprintf(text, sizeof(text), "cc -shared -fPIC -o %s %s", paths[1], paths[0]);
    if (system(text) != 0)
        SKIP("no compiler");
    int rx = listener(0);
    for (int order = 0; order < 2; order++) {
        pid_t pid = (pid_t)OK(fork());
        if (pid == 0) {
            const char *ours = getenv("LD_PRELOAD");
            snprintf(text, sizeof(text), "%s:%s", order ? ours : paths[1], order ? paths[1] : ours);
            setenv("LD_PRELOAD", text, 1);
            OK(close(rx));
            execl(self, self, "be quiet", (char *)NULL);
            _exit(99);
        }
        int fd = session(rx);
        EXPECT_TEXT(fd, "constructor");
        EXPECT_TEXT(fd, "destructor");
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
        OK(close(fd));
        CHILD_PASSED(pid);
    }
    OK(unlink(paths[0]));
    OK(unlink(paths[1]));
    OK(rmdir(directory));
    return 0;
}
