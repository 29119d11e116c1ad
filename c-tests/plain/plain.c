/* A program that knows nothing of PGM: files, pipes, sockets, names, a child. For scripts/clients to trace. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct iovec v = {"part", 4};
    struct msghdr header = {.msg_iov = &v, .msg_iovlen = 1};
    socklen_t len = sizeof(a);
    char buffer[64];
    int ends[2], one = 1, count = 0;

    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(udp, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        recv(udp, buffer, sizeof(buffer), MSG_DONTWAIT) != -1)
        return 1;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 || send(ends[0], "hello", 5, 0) != 5 ||
        sendmsg(ends[0], &header, 0) != 4 || writev(ends[0], &v, 1) != 4 ||
        ioctl(ends[1], FIONREAD, &count) != 0 || count != 13 ||
        recv(ends[1], buffer, sizeof(buffer), MSG_PEEK) != 13 || read(ends[1], buffer, 5) != 5 ||
        recvfrom(ends[1], buffer, sizeof(buffer), 0, (struct sockaddr *)&a, &len) != 8)
        return 2;
    int copy = dup(ends[0]), other = fcntl(ends[1], F_DUPFD_CLOEXEC, 20);
    if (dup2(copy, 30) != 30 || dup3(copy, 31, O_CLOEXEC) != 31 || shutdown(copy, SHUT_WR) != 0 ||
        close_range(30, 31, 0) != 0 || read(other, buffer, sizeof(buffer)) != 0)
        return 3;
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *list;
    if (getaddrinfo("localhost", "53", &hints, &list) != 0 || list->ai_protocol != IPPROTO_UDP ||
        getprotobyname("no-such-protocol") != NULL)
        return 5;
    freeaddrinfo(list);
    pid_t pid = fork();
    if (pid == 0)
        _exit(write(1, "child\n", 6) == 6 ? 0 : 1);
    int status = 1;
    waitpid(pid, &status, 0);
    FILE *file = fopen("/dev/null", "r+");
    if (file == NULL || fprintf(file, "text") != 4 || fclose(file) != 0)
        return 4;
    printf("parent, errno untouched\n");
    return status;
}
