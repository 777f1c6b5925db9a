"""The label table: 0 background, 1 kidney, 2 tumor, 3 cyst."""

BACKGROUND, KIDNEY, TUMOR, CYST = range(4)  # cysts: in label files of KiTS21 and KiTS23; caches count them as kidney
LARGEST_LABEL = CYST
IDS = {"kidney": KIDNEY, "tumor": TUMOR, "cyst": CYST}
CLASS_NAMES = ("background", "kidney", "tumor")  # of the network; the index is the label
