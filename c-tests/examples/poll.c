/* poll GROUP PORT: count the messages of all senders, as they come and go. */
#define _GNU_SOURCE /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/pgm.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 64

static struct pollfd fds[MOST]; /* the first is the listener */
static unsigned messages[MOST];
static nfds_t count = 1;

static void take_sessions(void)
{
    int fd;

    while (count < MOST && (fd = accept4(fds[0].fd, NULL, NULL,
                                         SOCK_NONBLOCK)) != -1) {
        fds[count] = (struct pollfd){.fd = fd, .events = POLLIN};
        messages[count++] = 0;
    }
}

/* False: the session is over. */
static int read_some(nfds_t i)
{
    static char message[65536];
    ssize_t n;

    while ((n = recv(fds[i].fd, message, sizeof(message), 0)) > 0)
        messages[i]++;
    if (n == -1 && errno == EAGAIN)
        return 1;
    printf("%u messages, then %s\n", messages[i],
           n == 0 ? "the end" : strerror(errno));
    fflush(stdout);
    close(fds[i].fd);
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in group = {.sin_family = AF_INET};

    if (argc != 3 || inet_pton(AF_INET, argv[1], &group.sin_addr) != 1)
        return 2;
    group.sin_port = htons(atoi(argv[2]));
    fds[0].fd = socket(AF_INET, SOCK_RDM | SOCK_NONBLOCK, IPPROTO_UDP);
    fds[0].events = POLLIN;
    if (fds[0].fd == -1 ||
        bind(fds[0].fd, (struct sockaddr *)&group, sizeof(group)) == -1 ||
        listen(fds[0].fd, 1) == -1) {
        perror("listen");
        return 1;
    }
    while (poll(fds, count, -1) > 0) {
        for (nfds_t i = count - 1; i > 0; i--)
            if (fds[i].revents != 0 && !read_some(i)) {
                count--; /* the last takes its place */
                fds[i] = fds[count];
                messages[i] = messages[count];
            }
        if (fds[0].revents != 0)
            take_sessions();
    }
    perror("poll");
    return 1;
}
