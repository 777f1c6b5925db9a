from .atomic import replacing as replacing
from .checksums import sha256_of as sha256_of
from .json_files import read_json as read_json
from .json_files import write_json as write_json
