#!/usr/bin/env bash
# make-real-images.sh STORE_DIR [--addr 127.0.0.1:5000] [--only name,name]
# Builds images of real software from Debian packages (from the mirror this machine's apt uses, and from nowhere else) and
# pushes them to the registry at --addr (hack/registry.sh starts one) under their Docker Hub names, for a runtime that
# mirrors docker.io there:
#   library/debian:bookworm      an index: this architecture and, with the same files, another
#   library/nginx:latest :1.22   port 80, SIGQUIT, logs by symlink; many whiteouts
#   library/redis:latest         port 6379, volume /data, becomes user redis
#   library/mariadb:latest       port 3306, volume /var/lib/mysql, becomes user mysql; an opaque whiteout; root's
#                                password is empty (MARIADB_ROOT_PASSWORD and MARIADB_DATABASE are honoured)
#   library/python:3.11          a zstd layer over the gzip base layer
#   library/busybox:latest       Debian's dynamic busybox, 259 hard links
# All but busybox share debian's layer.  Each further layer is the upper directory of an overlay mount in which a script
# ran by chroot (so STORE_DIR cannot be on overlayfs); it is built again when its script or a layer below it changes.
# Remove STORE_DIR/cache for newer packages.  STORE_DIR/oci is an OCI layout.  Root only; installs missing tools by apt-get.
set -euo pipefail; umask 022; export LC_ALL=C TZ=UTC DEBIAN_FRONTEND=noninteractive
ADDR=127.0.0.1:5000 STORE= ONLY=debian,nginx,redis,mariadb,python,busybox
while (($#)); do
	case $1 in --addr) ADDR=$2; shift ;; --only) ONLY=$2; shift ;; -*) STORE=; break ;; *) STORE=$1 ;; esac; shift
done
[[ -n $STORE ]] || { echo "usage: $0 STORE_DIR [--addr A] [--only name,name]" >&2; exit 2; }
mkdir -p "$STORE"/{cache/lists,oci/blobs/sha256}; STORE=$(cd "$STORE" && pwd)
C=$STORE/cache W=$(mktemp -d "$STORE/tmp.XXXXXX") need=()
trap 'rm -rf "$W"' EXIT
for p in mmdebstrap skopeo jq zstd curl attr:getfattr; do command -v "${p#*:}" >/dev/null || need+=("${p%:*}"); done
((${#need[@]} == 0)) || { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${need[@]}" >/dev/null; }
ARCH=$(dpkg --print-architecture) OTHER=arm64; [[ $ARCH = amd64 ]] || OTHER=amd64
want() { [[ ,$ONLY, = *,${1%%-*},* ]]; }
# ---------------------------------------------------------------- layers
put() { # put TYPE: stdin becomes a blob of the layout -> its descriptor
	local d f=$W/put.$BASHPID; cat >"$f"; d=$(sha256sum <"$f"); d=${d%% *}
	printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d}\n' "$1" "$d" "$(stat -c %s "$f")"
	mv "$f" "$STORE/oci/blobs/sha256/$d"
}
pack() { # pack NAME DIR ZIP KEY CREATED_BY LOWER...: makes DIR the layer NAME, described in cache/NAME/json
	local n=$1 d=$2 z=$3 key=$4 by=$5 f l diff desc; shift 5
	(cd "$d" && find . -mindepth 1 ! -type c ! -type s -printf '%P\n' | sort) >"$W/files"
	# overlay's whiteouts are 0:0 devices; it marks all new directories opaque, of which those count that hide one
	(cd "$d" && { getfattr -Rhn trusted.overlay.opaque . 2>/dev/null || true; } | sed -n 's/^# file: //p' |
		while IFS= read -r f; do for l; do [[ ! -d $l/$f || -L $l/$f ]] || echo "$f/.wh..wh..opq"; done; done | sort -u
	find . -type c -printf '%P\n' | sed -E 's,[^/]+$,.wh.&,' | sort) >"$W/whs"
	rm -rf "$W/wh"; mkdir "$W/wh"; xargs -rd '\n' -I{} install -D -m 644 /dev/null "$W/wh/{}" <"$W/whs"
	tar --no-recursion --verbatim-files-from --no-unquote --numeric-owner --format=gnu -cf "$W/tar" -C "$d" -T "$W/files" -C "$W/wh" -T "$W/whs"
	diff=$(sha256sum <"$W/tar")
	desc=$(case $z in gzip) gzip -n -6 ;; zstd) zstd -q -9 ;; esac <"$W/tar" | put "layer.v1.tar+$z")
	jq -cn --argjson desc "$desc" --arg d "sha256:${diff%% *}" --arg t "$(date +%FT%TZ)" --arg h "$by" '{$desc,diff:$d,history:{created:$t,created_by:$h}}' >"$C/$n/json"
	echo "layer $n: $(($(stat -c %s "$W/tar") / 1000)) kB, $z $(($(jq .size <<<"$desc") / 1000)) kB, $(wc -l <"$W/whs") whiteouts"
	rm "$W/tar"; echo "$key" >"$C/$n/key"
}
layer() { # layer NAME "PARENT..." ZIP [SUBDIR]: runs stdin by sh -e in a chroot over the parents; what it wrote (in SUBDIR) is the layer
	local n=$1 d=$C/$1 p low= key script; want "$n" || return 0
	script=$(cat); key=$({ echo "$*" "$script"; for p in $2; do cat "$C/$p/key"; done; } | sha256sum)
	[[ ! -s $d/key || $(<"$d/key") != "$key" ]] || return 0
	for p in $2; do low=$C/$p/up${low:+:$low}; done # overlay wants the top one first
	rm -rf "$d"; mkdir -p "$d"/{up,work} "$W/m"
	unshare -mpf --kill-child bash -ec 'm=$0/m
		mount -t overlay overlay -o "redirect_dir=off,metacopy=off,lowerdir=$1,upperdir=$2/up,workdir=$2/work" "$m"
		mount -t proc proc "$m/proc"; mount --rbind /dev "$m/dev"; mount -t tmpfs tmp "$m/tmp"
		mount --bind /etc/resolv.conf "$m/etc/resolv.conf"; mount --bind "$3" "$m/var/lib/apt/lists"
		HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin exec chroot "$m" /bin/sh -ec "
			pkg() { apt-get -qq update; apt-get -qq install -y --no-install-recommends \"\$@\"; }; umask 22; $4" </dev/null' \
		"$W" "$low" "$d" "$C/lists" "$script" >"$d/log" 2>&1 || { tail -20 "$d/log" >&2; exit 1; }
	[[ -z ${4:-} ]] || low=; pack "$n" "$d/up${4:+/$4}" "$3" "$key" "RUN /bin/sh -c $script" ${low//:/ }
}
# ---------------------------------------------------------------- images
image() { # image NAME "TAG..." "LAYER..." [VAR=PACKAGE] CONFIG: adds it to the layout; the version of PACKAGE goes into VAR
	local l a c ds= v=${4%=*}; want "$1" || return 0
	[[ -z $v ]] || v=$v=$(dpkg-query --admindir="$C/$1/up/var/lib/dpkg" -Wf '${Version}' "${4#*=}" | sed 's/^[0-9]*://; s/[-+].*//')
	l=$(for l in $3; do cat "$C/$l/json"; done | jq -cs .)
	c=$(jq -cn --arg v "$v" --arg n "$1" --argjson c "$5" '$c+{Env:(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",$v|select(.!="")]+($c.Env//[])),Labels:{"org.opencontainers.image.title":$n}}')
	for a in $ARCH $OTHER; do
		ds+=$(jq -cn --arg a $a --argjson l "$l" --argjson c "$c" '$l[-1].history.created as $t | {created:$t,architecture:$a,os:"linux",config:$c,rootfs:{type:"layers",diff_ids:[$l[].diff]},
			history:([$l[].history]+[$c|to_entries[]|{created:$t,created_by:"\(.key|ascii_upcase|gsub("DPORTS$|S$|ING";"")) \(.value|tojson)",empty_layer:true}])}' | put config.v1+json |
			jq -c --argjson l "$l" '{schemaVersion:2,mediaType:"application/vnd.oci.image.manifest.v1+json",config:.,layers:[$l[].desc]}' | put manifest.v1+json |
			jq -c --arg a $a '.+{platform:{architecture:$a,os:"linux"}}')
		[[ $1 = debian ]] || break
	done
	[[ $1 != debian ]] || ds=$(jq -cs '{schemaVersion:2,mediaType:"application/vnd.oci.image.index.v1+json",manifests:.}' <<<"$ds" | put index.v1+json)
	jq -c --arg n "$1" --arg t "$2" '.+{annotations:{"org.opencontainers.image.ref.name":$n,tags:$t}}' <<<"$ds" >"$C/$1.desc"
}
if [[ ! -s $C/debian/key ]]; then
	d=$C/debian/up; rm -rf "$C/debian"; mkdir -p "$d"
	sources=$(apt-get indextargets --format '$(REPO_URI)' | sort -u | sed -n 's,.*/debian/$,deb & bookworm main\ndeb & bookworm-updates main,p; s,.*/debian-security/$,deb & bookworm-security main,p')
	mmdebstrap -q --mode=root --variant=minbase --format=dir --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr bookworm "$d" - <<<"$sources" >"$C/debian/log" 2>&1 || { tail "$C/debian/log"; exit 1; }
	rm -rf "${d:?}"/{dev,var/lib/apt/lists}/* "$d"/var/log/{apt,dpkg.log} "$d/etc/resolv.conf"; : >"$d/etc/resolv.conf"; echo localhost >"$d/etc/hostname"
	printf '#!/bin/sh\nexit 101\n' >"$d/usr/sbin/policy-rc.d"; chmod 755 "$d/usr/sbin/policy-rc.d"; echo force-unsafe-io >"$d/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
	echo 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; }; Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";' >"$d/etc/apt/apt.conf.d/docker-clean"
	pack debian "$d" gzip "$(date)" "# mmdebstrap --variant=minbase bookworm"
fi
image debian bookworm debian '' '{"Cmd":["bash"]}'
layer nginx debian gzip <<<'pkg nginx-light curl ca-certificates'
layer nginx-conf "debian nginx" gzip <<'E'
ln -sf /dev/stdout /var/log/nginx/access.log; ln -sf /dev/stderr /var/log/nginx/error.log
echo 'server { listen 80; location / { root /usr/share/nginx/html; index index.html; } }' >/etc/nginx/conf.d/default.conf
rm -rf /etc/nginx/sites-*/* /usr/share/doc/* /var/log/apt; mkdir /docker-entrypoint.d
install -m 755 /dev/stdin /docker-entrypoint.sh <<'X'
#!/bin/sh -e
for f in /docker-entrypoint.d/*.sh; do [ ! -x "$f" ] || "$f"; done; exec "$@"
X
E
image nginx "latest 1.22" "debian nginx nginx-conf" NGINX_VERSION=nginx-light '{"Entrypoint":["/docker-entrypoint.sh"],"Cmd":["nginx","-g","daemon off;"],"ExposedPorts":{"80/tcp":{}},"StopSignal":"SIGQUIT"}'
layer redis debian gzip <<<'pkg redis-server; mkdir /data; chown redis:redis /data'
layer redis-entry "debian redis" gzip <<'E'
install -m 755 /dev/stdin /usr/local/bin/docker-entrypoint.sh <<'X'
#!/bin/sh -e
[ "$1" != redis-server ] || [ "$(id -u)" != 0 ] || { chown -R redis: /data; exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"; }
case "$1 ${2-}" in "redis-server " | "redis-server -"*) shift; set -- redis-server --protected-mode no "$@" ;; esac; exec "$@"
X
E
image redis latest "debian redis redis-entry" REDIS_VERSION=redis-server '{"Entrypoint":["docker-entrypoint.sh"],"Cmd":["redis-server"],"ExposedPorts":{"6379/tcp":{}},"Volumes":{"/data":{}},"WorkingDir":"/data"}'
layer mariadb debian gzip <<<'pkg mariadb-server; rm -rf /var/lib/mysql/*; chown mysql:mysql /var/lib/mysql; mkdir -p /run/mysqld'
layer mariadb-entry "debian mariadb" gzip <<'E'
rm -rf /usr/share/doc; mkdir /usr/share/doc # hides what is below: an opaque whiteout
printf '[mysqld]\nbind-address=*\nskip-name-resolve\n' >/etc/mysql/mariadb.conf.d/99-docker.cnf
install -m 755 /dev/stdin /usr/local/bin/docker-entrypoint.sh <<'X'
#!/bin/sh -e
d=/var/lib/mysql pw=${MARIADB_ROOT_PASSWORD-} db=${MARIADB_DATABASE-}
[ "$1" != mariadbd ] || [ "$(id -u)" != 0 ] || { chown -R mysql: $d /run/mysqld; exec setpriv --reuid=mysql --regid=mysql --init-groups "$0" "$@"; }
if [ "$1" = mariadbd ] && [ ! -d $d/mysql ]; then
	mariadb-install-db --auth-root-authentication-method=normal --skip-test-db >/dev/null
	printf '%s\n' "SET PASSWORD FOR root@localhost=PASSWORD('$pw');" "CREATE USER root@'%' IDENTIFIED BY '$pw';" \
		"GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;" "${db:+CREATE DATABASE \`$db\`;}" >/tmp/init.sql
	set -- "$@" --init-file=/tmp/init.sql
fi; exec "$@"
X
E
image mariadb latest "debian mariadb mariadb-entry" MARIADB_VERSION=mariadb-server '{"Entrypoint":["docker-entrypoint.sh"],"Cmd":["mariadbd"],"Env":["LANG=C.UTF-8"],"ExposedPorts":{"3306/tcp":{}},"Volumes":{"/var/lib/mysql":{}}}'
layer python debian zstd <<<'pkg python3 ca-certificates; ln -s /usr/bin/python3 /usr/local/bin/python'
image python 3.11 "debian python" PYTHON_VERSION=python3.11 '{"Cmd":["python3"],"Env":["LANG=C.UTF-8"]}'
layer busybox debian gzip bb <<'E'
pkg busybox
mkdir /bb; cd /bb; mkdir -p bin dev etc home proc root run sys tmp usr/bin usr/sbin var/spool var/tmp var/www; chmod 1777 tmp var/tmp; chmod 700 root; cp /etc/passwd /etc/group etc
for l in /bin/busybox $(ldd /bin/busybox | grep -o '/[^ ]*'); do mkdir -p ".${l%/*}"; cp -L "$l" ".$l"; done
for a in $(bin/busybox --list); do [ -e "bin/$a" ] || ln bin/busybox "bin/$a"; done; ln -s /bin/env usr/bin/env
E
image busybox latest busybox '' '{"Cmd":["sh"]}'
cat "$C"/*.desc | jq -cs '{schemaVersion:2,manifests:.}' >"$STORE/oci/index.json"; echo '{"imageLayoutVersion":"1.0.0"}' >"$STORE/oci/oci-layout"
curl -sf --noproxy '*' -o /dev/null "http://$ADDR/v2/" || { echo "$0: no registry answers at $ADDR (hack/registry.sh start $STORE $ADDR starts one)" >&2; exit 1; }
for n in ${ONLY//,/ }; do
	tags=$(jq -r .annotations.tags "$C/$n.desc"); for t in $tags; do # what the registry has already is not sent again
		skopeo copy -q --all --preserve-digests --dest-tls-verify=false "oci:$STORE/oci:$n" "docker://$ADDR/library/$n:$t"
		echo "library/$n:$t $(jq -r .digest "$C/$n.desc")"
	done
done
