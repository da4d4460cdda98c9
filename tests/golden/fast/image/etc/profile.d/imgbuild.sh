# A login shell begins with a PATH of its own, /etc/profile's: the environment's programs are first again.
case ":$PATH:" in
    *":${CONDA_PREFIX:-}/bin:"*) ;;
    *) [ -z "${CONDA_PREFIX:-}" ] || export PATH="$CONDA_PREFIX/bin:$PATH" ;;
esac
