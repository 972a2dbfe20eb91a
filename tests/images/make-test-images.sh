#!/usr/bin/env bash
# make-test-images.sh STORE_DIR [--addr 127.0.0.1:5000] [--no-push]
#
# Builds, from Debian packages only, stand-ins for every container image that the
# Linux part of `critest` (cri-tools) asks for, and pushes them to the registry
# at --addr (hack/registry.sh starts one).
#
# Needs: bash, coreutils, tar, gzip, jq, curl, cc (two tiny static helpers) and
#        perl.  nginx and busybox are fetched with `apt-get download` and unpacked
#        (once, into STORE_DIR/cache), so nothing is installed.  busybox must be the
#        *dynamic* one: the static one is built with FEATURE_SH_STANDALONE, so its
#        shell runs applets in-process and the MaskedPaths spec (mask /bin/ls,
#        expect "/bin/sh: ls: Permission denied") cannot pass.
#
# Output: STORE_DIR/oci      blobs by digest
#         STORE_DIR/refs.tsv "repo<TAB>tag<TAB>digest<TAB>mediatype"
#         STORE_DIR/digest-image.txt  digest of test-image-digest, see below (of the
#             manifest, not of the index: CRI-O lists both when pulled by index)
#
# The one reference that critest pins by digest
#   gcr.io/k8s-staging-cri-tools/test-image-digest@sha256:9700f9a2f5bf...
# cannot be reproduced.  Either skip that spec or give critest our digest:
#   perl -pe "s/9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf/$(cut -d: -f2 STORE_DIR/digest-image.txt)/g" critest >critest-local
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022

ADDR=127.0.0.1:5000 PUSH=1 STORE=
while (($#)); do
	case $1 in
	--addr) ADDR=$2; shift ;;
	--no-push) PUSH=0 ;;
	-h | --help) sed -n '2,/^set -/{/^#/p}' "$0"; exit 0 ;;
	-*) echo "unknown option $1" >&2; exit 2 ;;
	*) STORE=$1 ;;
	esac
	shift
done
[[ -n $STORE ]] || { echo "usage: $0 STORE_DIR [--addr A] [--no-push]" >&2; exit 2; }
mkdir -p "$STORE"/{cache,oci}
STORE=$(cd "$STORE" && pwd)
BLOBS=$STORE/oci W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT

ARCH=amd64 OTHER=arm64
[[ $(uname -m) = aarch64 ]] && ARCH=arm64 OTHER=amd64

OCI_M=application/vnd.oci.image.manifest.v1+json OCI_X=application/vnd.oci.image.index.v1+json
OCI_C=application/vnd.oci.image.config.v1+json OCI_L=application/vnd.oci.image.layer.v1.tar+gzip
DKR_M=application/vnd.docker.distribution.manifest.v2+json DKR_X=application/vnd.docker.distribution.manifest.list.v2+json
DKR_C=application/vnd.docker.container.image.v1+json DKR_L=application/vnd.docker.image.rootfs.diff.tar.gzip

# ---------------------------------------------------------------- blobs
put() { # put FILE -> "digest size", moves FILE into the blob store
	local d s
	d=$(sha256sum <"$1"); d=${d%% *}; s=$(stat -c %s "$1")
	mv "$1" "$BLOBS/$d"
	echo "sha256:$d $s"
}
layer() { # layer NAME DIR: tar+gzip DIR reproducibly; sets L_<NAME>="diffid digest size"
	local t=$W/$1.tar diff
	tar -C "$2" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -cf "$t" .
	diff=$(sha256sum <"$t"); diff=sha256:${diff%% *}
	gzip -n -6 <"$t" >"$t.gz"
	printf -v "L_$1" '%s %s' "$diff" "$(put "$t.gz")"
	rm -f "$t"
}

declare -a REFS=() MANIFESTS=()
# image STYLE CONFIG_JSON REPO:TAG[,REPO:TAG...] LAYER...
# Writes one manifest for this architecture, one for another (same layers, only
# to have a second platform in the list), an index over both; tags the index.
image() {
	local style=$1 cfg=$2 tags=$3 M X C L a m descs=() idx; shift 3
	case $style in oci) M=$OCI_M X=$OCI_X C=$OCI_C L=$OCI_L ;; docker) M=$DKR_M X=$DKR_X C=$DKR_C L=$DKR_L ;; esac
	local diffs='[]' lays='[]' v diff dig size
	for a in "$@"; do
		v=L_$a; read -r diff dig size <<<"${!v}"
		diffs=$(jq -c --arg d "$diff" '.+[$d]' <<<"$diffs")
		lays=$(jq -c --arg m $L --arg d "$dig" --argjson s "$size" '.+[{mediaType:$m,digest:$d,size:$s}]' <<<"$lays")
	done
	local repo=${tags%%:*}
	for a in $ARCH $OTHER; do
		jq -cSn --arg a $a --argjson c "$cfg" --argjson d "$diffs" '{created:"2024-01-01T00:00:00Z",architecture:$a,os:"linux",config:$c,
			rootfs:{type:"layers",diff_ids:$d},history:[$d[]|{created:"2024-01-01T00:00:00Z",created_by:"make-test-images.sh"}]}' |
			tr -d '\n' >"$W/c"
		read -r dig size <<<"$(put "$W/c")"
		local cd=$dig cs=$size
		jq -cSn --arg m $M --arg C $C --arg d "$cd" --argjson s "$cs" --argjson l "$lays" \
			'{schemaVersion:2,mediaType:$m,config:{mediaType:$C,digest:$d,size:$s},layers:$l}' | tr -d '\n' >"$W/m"
		read -r dig size <<<"$(put "$W/m")"
		MANIFESTS+=("$repo $dig $M $dig $cd $(jq -r '.[].digest' <<<"$lays" | sort -u | tr '\n' ' ')")
		descs+=("$(jq -cn --arg m $M --arg d "$dig" --argjson s "$size" --arg a $a '{mediaType:$m,digest:$d,size:$s,platform:{architecture:$a,os:"linux"}}')")
	done
	printf '%s\n' "${descs[@]}" | jq -cSs --arg m $X '{schemaVersion:2,mediaType:$m,manifests:.}' | tr -d '\n' >"$W/x"
	read -r dig size <<<"$(put "$W/x")"; idx=$dig
	local t
	for t in ${tags//,/ }; do
		[[ ${t%%:*} = "$repo" ]] || for m in "${MANIFESTS[@]: -2}"; do MANIFESTS+=("${t%%:*} ${m#* }"); done
		REFS+=("${t%%:*}	${t#*:}	$idx	$X")
	done
	LAST=$(cut -d' ' -f2 <<<"${MANIFESTS[-2]}") # this architecture's own manifest
}

BB=$STORE/cache/busybox-dyn NGINX=$STORE/cache/nginx-bin
DEB_PROGRAM=$(cd "$(dirname "$0")/../../hack" && pwd)/deb-program.sh
"$DEB_PROGRAM" busybox busybox "$BB"
"$DEB_PROGRAM" nginx nginx "$NGINX"
if ldd "$NGINX" | grep -q 'not found'; then
	echo "$0: nginx wants libraries that this machine lacks: $(ldd "$NGINX" | grep 'not found' | awk '{print $1}' | paste -sd' ')" >&2; exit 1
fi

STAMP=$(cat "$0" "$NGINX" | sha256sum | cut -c1-64)-$ARCH
if [[ -s $STORE/refs.tsv && -s $STORE/manifests.txt && $(cat "$STORE/stamp" 2>/dev/null) = "$STAMP" ]]; then
	mapfile -t MANIFESTS <"$STORE/manifests.txt"
else
# ---------------------------------------------------------------- helpers in C
compile() { cc -Os -static -s -o "$2" -x c "$1"; }
cat >"$W/pause.c" <<'C'
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void bye(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(int c, char **v) {
	struct sigaction a = {.sa_handler = bye}, r = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
	if (c > 1 && !strcmp(v[1], "-v")) { puts("pause (local stand-in)"); return 0; }
	sigaction(SIGINT, &a, 0); sigaction(SIGTERM, &a, 0); sigaction(SIGCHLD, &r, 0);
	for (;;) pause();
}
C
cat >"$W/nnp.c" <<'C'
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("Effective uid: %d\n", (int)geteuid()); return 0; }
C
compile "$W/pause.c" "$W/pause"; compile "$W/nnp.c" "$W/nnp"

# ---------------------------------------------------------------- root file systems
# ash up to 1.29 (the version the specs were written against) reports a command it
# may not run as "/bin/sh: ls: Permission denied"; later ones put "line 0: " before
# the name, and the spec compares the whole line.  "%.0d" prints nothing for 0.
perl -pi -e 's/\0line %d: \0/\0%.0d\0\0\0\0\0\0/' "$BB"
with_libs() { # with_libs ROOT BINARY DEST: copy BINARY and its shared libraries
	install -D -m 755 "$2" "$1$3"
	local l
	for l in $(ldd "$2" 2>/dev/null | grep -o '/[^ ]*' || true); do
		[[ -e $1$l ]] || install -D -m 755 "$(readlink -f "$l")" "$1$l"
	done
}

R=$W/base; mkdir -p "$R"/{bin,sbin,dev,etc,home,proc,root,run,sys,tmp,usr/bin,usr/sbin,usr/local/bin,var/lib,var/log,var/run,var/tmp,var/www}
chmod 1777 "$R/tmp" "$R/var/tmp"; chmod 700 "$R/root"
with_libs "$R" "$BB" /bin/busybox
# hard links, as in the official image: masking /bin/ls must not mask /bin/sh
"$BB" --list | while read -r a; do [[ $a = busybox ]] || ln "$R/bin/busybox" "$R/bin/$a"; done
cat >"$R/etc/passwd" <<'T'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
T
cat >"$R/etc/group" <<'T'
root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
www-data:x:33:
nogroup:x:65534:
T
echo 'passwd: files' >"$R/etc/nsswitch.conf"
# two tools that Debian's busybox leaves out and critest calls
rm -f "$R"/bin/{pgrep,ipcs}
cat >"$R/bin/pgrep" <<'T'
#!/bin/sh
# pgrep NAME: pids whose command name contains NAME
rc=1
for d in /proc/[0-9]*; do
	read -r c 2>/dev/null <"$d/comm" || continue
	case $c in *"$1"*) echo "${d#/proc/}"; rc=0 ;; esac
done
exit $rc
T
cat >"$R/bin/ipcs" <<'T'
#!/bin/sh
# ipcs -m: shared memory segments of this IPC namespace
echo "------ Shared Memory Segments --------"
echo "key shmid perms bytes"
while read -r key id perms size _; do [ "$key" = key ] || echo "$key $id $perms $size"; done </proc/sysvipc/shm
T
chmod 755 "$R"/bin/{pgrep,ipcs}
layer base "$R"

N=$W/nginx; mkdir -p "$N"/{etc/nginx,var/lib/nginx,var/log/nginx,usr/share/nginx/html}
with_libs "$N" "$NGINX" /usr/sbin/nginx
( cd "$N" && find . -type f | while read -r f; do if [[ -e $R/$f ]]; then rm -f "$f"; fi; done; find . -type d -empty -path './lib*' -delete ) # already in base
nginx_conf() { cat <<T
user www-data;
worker_processes 1;
pid /var/run/nginx.pid;
error_log stderr notice;
events { worker_connections 256; }
http {
	access_log off;
	default_type text/html;
	client_body_temp_path /tmp/cb; proxy_temp_path /tmp/px; fastcgi_temp_path /tmp/fc; uwsgi_temp_path /tmp/uw; scgi_temp_path /tmp/sc;
	server { listen $1; location / { root /usr/share/nginx/html; index index.html; } }
}
T
}
nginx_conf 80 >"$N/etc/nginx/nginx.conf"
echo '<html><title>Welcome to nginx</title>stand-in</html>' >"$N/usr/share/nginx/html/index.html"
layer nginx "$N"
H=$W/hostnet; mkdir -p "$H/etc/nginx"; nginx_conf 12003 >"$H/etc/nginx/nginx.conf"; layer hostnet "$H"

D=$W/httpd; mkdir -p "$D"/{usr/local/bin,var/www}
cat >"$D/usr/local/bin/httpd-foreground" <<'T'
#!/bin/sh
# the spec looks for the word "httpd" in the container log
echo "httpd: serving /var/www on port 80" >&2
exec /bin/httpd -f -p 80 -h /var/www
T
chmod 755 "$D/usr/local/bin/httpd-foreground"; echo '<html><body><h1>It works!</h1></body></html>' >"$D/var/www/index.html"
layer httpd "$D"

S=$W/nnpd; mkdir -p "$S"; install -m 4755 "$W/nnp" "$S/nnp"; layer nnp "$S"
P=$W/paused; mkdir -p "$P"; install -m 755 "$W/pause" "$P/pause"; layer pause "$P"

G=$W/grp; mkdir -p "$G/etc" "$G/home/default-user"
{ cat "$R/etc/passwd"; echo 'default-user:x:1000:1000:default-user:/home/default-user:/bin/sh'; } >"$G/etc/passwd"
{ cat "$R/etc/group"; echo 'default-user:x:1000:'; echo 'group-defined-in-image:x:50000:default-user'; } >"$G/etc/group"
layer grp "$G"

for t in 1 2 3 latest digest same test all; do mkdir -p "$W/mark-$t"; echo "$t" >"$W/mark-$t/test-image-$t"; layer "mark_$t" "$W/mark-$t"; done

# ---------------------------------------------------------------- images
P_ENV='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
SH="{$P_ENV,\"Cmd\":[\"sh\"]}"
E=e2e-test-images K=k8s-staging-cri-tools
image docker "$SH" "$E/busybox:1.29-2" base
image docker "{$P_ENV,\"Cmd\":[\"nginx\",\"-g\",\"daemon off;\"],\"ExposedPorts\":{\"80/tcp\":{}},\"StopSignal\":\"SIGTERM\"}" "$E/nginx:1.14-2" base nginx
image docker "{$P_ENV,\"Cmd\":[\"httpd-foreground\"],\"ExposedPorts\":{\"80/tcp\":{}}}" "$E/httpd:2.4.39-4" base httpd
image docker "{$P_ENV,\"Entrypoint\":[\"/nnp\"]}" "$E/nonewprivs:1.3" base nnp
image oci "{$P_ENV,\"Cmd\":[\"nginx\",\"-g\",\"daemon off;\"],\"ExposedPorts\":{\"12003/tcp\":{}}}" "$K/hostnet-nginx-$ARCH:latest" base nginx hostnet
for i in 1 2 3; do image oci "$SH" "$K/test-image-$i:latest" base mark_$i; done
image oci "$SH" "$K/test-image-latest:latest" base mark_latest
image oci "$SH" "$K/test-image-digest:latest" base mark_digest; echo "$LAST" >"$STORE/digest-image.txt"
image oci "$SH" "$K/test-image-tags:1,$K/test-image-tags:2,$K/test-image-tags:3" base mark_same
image oci "$SH" "$K/test-image-tag:test" base mark_test
image oci "$SH" "$K/test-image-tag:all" base mark_all
user() { image oci "{$P_ENV,\"Cmd\":[\"sh\"],\"User\":\"$2\"}" "$K/$1:latest" base ${3:-}; }
user test-image-user-uid 1002
user test-image-user-username www-data
user test-image-user-uid-group 1003:1004
user test-image-user-username-group www-data:1004
user test-image-predefined-group 1000 grp
# pause:3.9 is pulled and removed by specs, so the sandbox images of the
# runtimes (3.10, 3.10.1, ...) must be other images: a label sets them apart.
pause_cfg() { echo "{$P_ENV,\"Entrypoint\":[\"/pause\"],\"User\":\"65535:65535\",\"Labels\":{\"version\":\"$1\"}}"; }
image docker "$(pause_cfg 3.9)" "pause:3.9" pause
image docker "$(pause_cfg 3.10)" "pause:3.10,pause:3.10.1,pause:3.10.2" pause

printf '%s\n' "${MANIFESTS[@]}" >"$STORE/manifests.txt"
printf '%s\n' "${REFS[@]}" >"$STORE/refs.tsv"
echo "$STAMP" >"$STORE/stamp"
fi
[[ $PUSH = 1 ]] || { echo "built $(wc -l <"$STORE/refs.tsv") references, not pushed"; exit 0; }

# ---------------------------------------------------------------- push
U=http://$ADDR/v2
curl -sf --noproxy '*' -o /dev/null "$U/" || { echo "$0: no registry answers at $ADDR (hack/registry.sh start $STORE $ADDR starts one)" >&2; exit 1; }
c() { curl -sS --noproxy '*' "$@"; }
declare -A HAVE=()
push_blob() { # push_blob REPO DIGEST
	[[ -z ${HAVE[$1@$2]:-} ]] || return 0
	HAVE[$1@$2]=1
	[[ $(c -o /dev/null -w '%{http_code}' -I "$U/$1/blobs/$2") != 200 ]] || return 0
	local loc sep='?'
	# ask for a cross-repository mount first, upload if that is not possible
	loc=$(c -D- -o /dev/null -X POST "$U/$1/blobs/uploads/${FROM[$2]:+?mount=$2&from=${FROM[$2]}}" | tr -d '\r' | awk 'NR==1{s=$2} tolower($1)=="location:"{l=$2} END{print s, l}')
	FROM[$2]=$1
	[[ ${loc%% *} != 201 ]] || return 0
	loc=${loc#* }; [[ $loc = http* ]] || loc=http://$ADDR$loc
	[[ $loc != *\?* ]] || sep='&'
	c -f -o /dev/null -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$BLOBS/${2#sha256:}" "$loc${sep}digest=$2"
}
declare -A FROM=()
push_manifest() { # push_manifest REPO REFERENCE DIGEST MEDIATYPE
	[[ $(c -o /dev/null -w '%header{docker-content-digest}' -I -H "Accept: $4" "$U/$1/manifests/$2") != "$3" ]] || return 0
	c -f -o /dev/null -X PUT -H "Content-Type: $4" --data-binary "@$BLOBS/${3#sha256:}" "$U/$1/manifests/$2"
}
# a tag that already points to the right digest needs nothing more
declare -A PENDING=()
while IFS=$'\t' read -r repo tag dig mt; do
	[[ $(c -o /dev/null -w '%header{docker-content-digest}' -I -H "Accept: $mt" "$U/$repo/manifests/$tag") = "$dig" ]] || PENDING[$repo]=1
done <"$STORE/refs.tsv"
for m in "${MANIFESTS[@]}"; do
	[[ -n ${PENDING[${m%% *}]:-} ]] || continue
	read -r repo ref mt dig cfg lays <<<"$m"
	for b in $cfg $lays; do push_blob "$repo" "$b"; done
	push_manifest "$repo" "$ref" "$dig" "$mt"
done
while IFS=$'\t' read -r repo tag dig mt; do [[ -z ${PENDING[$repo]:-} ]] || push_manifest "$repo" "$tag" "$dig" "$mt"; done <"$STORE/refs.tsv"
echo "pushed $(wc -l <"$STORE/refs.tsv") references to $ADDR (store $STORE)"
