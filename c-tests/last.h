/* For tests of what goes on when a program has ended. */
#ifndef LAST_H
#define LAST_H

#include "check.h"
#include <dirent.h>

extern char **environ;

/* Whether a file of /proc holds this text. */
HELPER int proc_holds(const char *pid, const char *name, const char *text)
{
    static char content[1 << 17];
    char path[300];
    size_t n = 0;

    snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        n = fread(content, 1, sizeof(content), file);
        fclose(file);
    }
    return memmem(content, n, text, strlen(text)) != NULL;
}

/* Processes that carry on for programs of this test that have ended: they have its environment. */
HELPER int lingering(void)
{
    const char *port = getenv("CHECK_PORT");
    struct dirent *entry;
    char mark[64];
    int found = 0;
    DIR *proc = opendir("/proc");

    CHECK(proc != NULL);
    snprintf(mark, sizeof(mark), "CHECK_PORT=%s", port != NULL ? port : "");
    while ((entry = readdir(proc)) != NULL)
        if (atoi(entry->d_name) > 0 && proc_holds(entry->d_name, "comm", "pgmshim-linger"))
            found += port == NULL || proc_holds(entry->d_name, "environ", mark);
    closedir(proc);
    return found;
}

/* Wait until none is left. */
HELPER void expect_nobody_at(const char *file, int line)
{
    for (long long end = now_ms() + 30000; lingering() > 0; sleep_ms(50))
        if (now_ms() > end)
            fail_at(file, line, "a process is left behind");
}
#define expect_nobody() expect_nobody_at(__FILE__, __LINE__)

#endif
