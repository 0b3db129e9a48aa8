"""The program of the process that decodes a file of a stranger: `FILE KIND SECONDS BYTES FRAMES SIDE`.

What it may use is limited before it looks at the file, so what the file does to a decoder ends with this process. It writes
frames, each `[height, width, 3]` uint8 RGB, behind a line `FRAMES HEIGHT WIDTH`; or it fails with exit code 3 and a
sentence. It imports nothing of the package, so that it starts fast.
"""

import os
import resource
import sys

# Of FFmpeg: only these formats and only files, since a "video" may be a list of other files and addresses to open.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
OPTIONS = f"protocol_whitelist;file|format_whitelist;{FORMATS}|enable_drefs;0|use_absolute_path;0|threads;1"
MOST_PIXELS = 1 << 25  # of a picture or of a frame of a video
MOST_READ = 3000  # frames of a video


class Unusable(Exception):
    """What is wrong with the file, as the end of a sentence."""


def main() -> int:
    """Decode and return the exit code."""
    file, kind, *numbers = sys.argv[1:]
    seconds, most_bytes, most_frames, side = map(int, numbers)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # pipes are not files
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0) if os.getuid() else resource.getrlimit(resource.RLIMIT_NPROC))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ |= {
        "OPENCV_FFMPEG_CAPTURE_OPTIONS": OPTIONS,
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(MOST_PIXELS),
        "OPENCV_LOG_LEVEL": "OFF",
        "OPENCV_FFMPEG_LOGLEVEL": "-8",
        "OPENBLAS_NUM_THREADS": "1",
    }
    import cv2

    cv2.setNumThreads(0)
    try:
        frames = _picture(cv2, file) if kind == "picture" else _video(cv2, file, most_frames)
        frames = [_shrunk(cv2, frame, side) for frame in frames]
    except Unusable as error:
        print(error, end="")
        return 3
    except (cv2.error, MemoryError):
        print("cannot be decoded within the memory for it", end="")
        return 3
    height, width = frames[0].shape[:2]
    sys.stdout.buffer.write(b"%d %d %d\n" % (len(frames), height, width))
    for frame in frames:
        sys.stdout.buffer.write(frame[..., ::-1].tobytes())
    return 0


def _picture(cv2, file: str) -> list:
    picture = cv2.imread(file, cv2.IMREAD_COLOR)
    if picture is None:
        raise Unusable("cannot be decoded: it is damaged, or too large")
    return [picture]


def _video(cv2, file: str, most: int) -> list:
    """Return at most `most` frames, evenly spread, without knowing before how many there are."""
    reader = cv2.VideoCapture(file, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])  # a thread counts as a process
    height, width = (int(reader.get(what)) for what in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
    if not reader.isOpened():
        raise Unusable("cannot be decoded: there is no video in it that OpenCV reads")
    if not 0 < height * width <= MOST_PIXELS:
        raise Unusable(f"states frames of {width} x {height} pixels; at most {MOST_PIXELS / 1e6:.0f} million are read")
    kept, step = [], 1
    for number in range(MOST_READ):
        readable, frame = reader.read()
        if not readable:
            break
        if number % step:
            continue
        if len(kept) == most:
            kept, step = kept[::2], 2 * step
            if number % step:
                continue
        kept.append(frame.copy())
    if not kept:
        raise Unusable("cannot be decoded: no frame of it can be read")
    return [frame for frame in kept if frame.shape == kept[0].shape]


def _shrunk(cv2, frame, side: int):
    """Return a frame whose longer side is at most `side` pixels."""
    scale = side / max(frame.shape[:2])
    if scale >= 1:
        return frame
    size = tuple(max(1, round(length * scale)) for length in frame.shape[1::-1])
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    sys.exit(main())
