/* For tests with a thousand sockets. Include it after check.h. */
#ifndef MANY_H
#define MANY_H

#include <sys/resource.h>

#define MANY 1000
#define DESCRIPTORS 16384 /* more than MANY of everything need */

HELPER int is_open(int fd)
{
    /* Not fcntl: descriptors that are not the program's own do not exist for it. */
    char name[32], target[8];

    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    return readlink(name, target, sizeof(target)) != -1;
}

/* A number of a file of /proc that has "NAME NUMBER" lines. */
HELPER long field(const char *file, const char *name)
{
    char line[256];
    FILE *in = fopen(file, "r");
    long value = -1;

    CHECK(in != NULL);
    while (fgets(line, sizeof(line), in) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = atol(line + strlen(name));
    CHECK(fclose(in) == 0);
    if (value < 0)
        FAIL("no %s in %s", name, file);
    return value;
}

HELPER void raise_limit(void)
{
    struct rlimit limit;

    OK(getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_max < DESCRIPTORS)
        SKIP("%ld descriptors are allowed, %d are needed", (long)limit.rlim_max, DESCRIPTORS);
    limit.rlim_cur = DESCRIPTORS;
    OK(setrlimit(RLIMIT_NOFILE, &limit));
}

#endif
