#!/usr/bin/env bash
# Images of real software as a container sees them, compared with what GNU tar makes of their layers: names, kinds, modes,
# owners, sizes, times, targets of links, numbers of names and the contents of all files.
set -euo pipefail
source "$(dirname "$0")/../harness.sh"

need_packages curl jq zstd gzip tar
start_registry
need_real_images
place_make image-trees
IMAGES=(library/nginx:latest library/redis:latest library/mariadb:latest library/python:3.11)

get() { curl -sfL --noproxy '*' -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$REGISTRY/v2/$1"; }

# tree FOLDER IMAGE: the layers of an image, one upon the other, with what their whiteouts hide taken away before.
tree() {
    local repository=${2%:*} layer entry archive=$1.tar
    mkdir "$1"
    for layer in $(get "$repository/manifests/${2#*:}" | jq -c '.layers[]'); do
        get "$repository/blobs/$(jq -r .digest <<< "$layer")" |
            case $layer in *zstd*) zstd -qdc ;; *) gzip -dc ;; esac > "$archive"
        tar -tf "$archive" --quoting-style=literal | { grep -E '(^|/)\.wh\.[^/]+$' || true; } | while IFS= read -r entry; do
            case ${entry##*/} in
                .wh..wh..opq) find "$1/${entry%/*}" -mindepth 1 -delete ;;
                *) rm -rf "${1:?}/$(sed -E 's,(^|/)\.wh\.([^/]+)$,\1\2,' <<< "$entry")" ;;
            esac
        done
        # Without the last word tar sets the time of a folder once, and changes it with what comes later in it.
        tar -C "$1" --numeric-owner --same-permissions --same-owner --exclude='.wh.*' -xf "$archive" --delay-directory-restore
    done
    rm "$archive"
}
# look FOLDER: a line for each thing in it. What a container has of its own is left out, with the time of the folder that it
# lies in.
LOOK='cd "$1" && find . -xdev -mindepth 1 \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./etc/hosts -o -path ./etc/hostname -o -path ./etc/resolv.conf \) -prune -o \
    \( -type d -printf "%p d %m %U %G %T@\n" -o -printf "%p %y %m %U %G %s %n %T@ %l\n" \) | sed -E "s,^(\./etc d .*) [^ ]+$,\1," | LC_ALL=C sort
    find . -xdev -mindepth 1 \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./etc/hosts -o -path ./etc/hostname -o -path ./etc/resolv.conf \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum'

daemon_start
machine_before
for image in "${IMAGES[@]}"; do
    name=${image#library/} name=${name%:*}
    tree "$PLACE/$name" "$image"
    sh -c "$LOOK" look "$PLACE/$name" > "$PLACE/$name.tar-made"
    cradle run --rm "docker.io/$image" sh -c "$LOOK" look / > "$PLACE/$name.seen" 2> "$PLACE/$name.said" || true
    equals "${name}_is_all_looked_at" "$(wc -l < "$PLACE/$name.tar-made")" "$(wc -l < "$PLACE/$name.seen")"
    check "${name}_is_what_gnu_tar_makes" diff "$PLACE/$name.tar-made" "$PLACE/$name.seen"
    cradle rmi "docker.io/$image" > /dev/null
done
machine_check nothing_is_left_of_trees
check daemon_ends_within_5_s daemon_stop
