/*
 * A peer that knows nothing but sockets: run under the preload library it speaks PGM.
 * Linked to nothing of ours.
 */
#include "pattern.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/pgm.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_socket(const struct job *job)
{
	int fd = socket(AF_INET, SOCK_RDM, job->udp ? IPPROTO_UDP : IPPROTO_PGM);

	if (fd < 0)
		die("socket");
	return fd;
}

static struct sockaddr_in group_address(const struct job *job)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)job->port) };

	inet_pton(AF_INET, job->group, &address.sin_addr);
	return address;
}

static int run_sender(const struct job *job)
{
	struct sockaddr_in to = group_address(job);
	struct in_addr interface;
	unsigned char *buffer = malloc(job->max);
	unsigned long long octets = 0;
	double start;
	int fd = open_socket(job);

	inet_pton(AF_INET, job->interface, &interface);
	if (setsockopt(fd, IPPROTO_PGM, RM_SET_SEND_IF, &interface, sizeof interface))
		die("RM_SET_SEND_IF");
	if (job->fec) {
		struct pgm_fec_info fec = { .fec_block_size = FEC_N, .fec_group_size = (uint8_t)job->fec_k,
					    .fec_on_demand_parity = job->fec == FEC_ON_DEMAND,
					    .fec_proactive_packets = job->fec == FEC_PRO_ACTIVE ? FEC_PRO_ACTIVE_PACKETS : 0 };

		if (setsockopt(fd, IPPROTO_PGM, RM_USE_FEC, &fec, sizeof fec))
			die("RM_USE_FEC");
	}
	if (connect(fd, (struct sockaddr *)&to, sizeof to))
		die("connect");
	start = seconds_now();
	for (unsigned long i = 0; i < job->count; i++) {
		size_t length = message_length(job, i);

		if (job->verify || length < 8)
			message_fill(buffer, length, i);
		else
			memcpy(buffer, &(uint64_t){ i }, 8);
		pace_wait(job, start, i);
		if (send(fd, buffer, length, 0) != (ssize_t)length)
			die("send");
		octets += length;
	}
	report("send", job->count, octets, seconds_now() - start, "sent", "");
	close(fd);
	return 0;
}

static int run_receiver(const struct job *job)
{
	struct sockaddr_in at = group_address(job);
	struct in_addr interface;
	struct timeval idle = { (time_t)job->idle, (suseconds_t)((job->idle - (double)(time_t)job->idle) * 1e6) };
	size_t room = job->max < 65536 ? 65536 : job->max;
	unsigned char *buffer = malloc(room + (128 << 10));
	unsigned long long octets = 0;
	unsigned long i = 0;
	double first = 0, last = 0;
	struct pgm_receiver_stats stats;
	char more[256];
	const char *end = "complete";
	int listener = open_socket(job), fd;

	inet_pton(AF_INET, job->interface, &interface);
	if (bind(listener, (struct sockaddr *)&at, sizeof at))
		die("bind");
	if (setsockopt(listener, IPPROTO_PGM, RM_ADD_RECEIVE_IF, &interface, sizeof interface))
		die("RM_ADD_RECEIVE_IF");
	if (listen(listener, 1))
		die("listen");
	printf("{\"role\":\"recv\",\"ready\":true}\n");
	fflush(stdout);
	if (setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 30, 0 }, sizeof(struct timeval)))
		die("SO_RCVTIMEO");
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle))
		die("SO_RCVTIMEO");
	while (i < job->count) {
		ssize_t got = recv(fd, buffer, room + (128 << 10), 0);

		if (got <= 0) {
			end = got == 0 ? "fin" : errno == EAGAIN ? "silent" : strerror(errno);
			break;
		}
		last = seconds_now();
		if (!i)
			first = last;
		if (message_check(job, buffer, (size_t)got, i))
			return 1;
		octets += (unsigned long long)got;
		i++;
	}
	if (getsockopt(fd, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &stats, &(socklen_t){ sizeof stats }))
		die("RM_RECEIVER_STATISTICS");
	snprintf(more, sizeof more, ",\"odata\":%llu,\"naks\":%llu,\"parity_naks\":%llu,\"repairs\":%llu,\"duplicates\":%llu,\"lead\":%llu",
		 (unsigned long long)stats.num_odata_packets_received, (unsigned long long)stats.total_selective_naks_sent,
		 (unsigned long long)stats.total_parity_naks_sent, (unsigned long long)stats.num_rdata_packets_received,
		 (unsigned long long)stats.num_duplicate_data_packets, (unsigned long long)stats.leading_edge_seq_id);
	report("recv", i, octets, last - first, end, more);
	return i == job->count ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct job job;

	return parse_job(argc, argv, &job) == 's' ? run_sender(&job) : run_receiver(&job);
}
